package main

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/slimbridge/slimbridge/session/identity"
)

func (p *program) secretCommand() *cobra.Command {
	cmd := p.group("secret", "Make a shared secret",
		"Apps that share a secret trust each other: it proves who they are, and every\nholder may take any name. The node needs none. On one machine the bridge makes\nand finds a secret by itself; between machines, make one and copy it.")
	cmd.AddCommand(p.secretNewCommand())
	return cmd
}

func (p *program) secretNewCommand() *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:   "new",
		Short: "Print a fresh random secret, or write it to a file",
		Long: `Makes a secret of 256 random bits. It is printed, or written with --out to a new
file that only you may read; an existing file is never replaced.`,
		Example: `  slimbridge secret new --out slim.secret
  export SLIM_SHARED_SECRET_FILE=$PWD/slim.secret`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			secret := identity.GenerateSecret()
			if !cmd.Flags().Changed("out") {
				_, err := fmt.Fprintf(p.stdout, "%s\n", secret.Reveal())
				return err
			}
			err := identity.WriteSecretFile(out, secret)
			if errors.Is(err, fs.ErrExist) {
				return fmt.Errorf("%s exists and is not replaced: remove it first or choose another file", out)
			}
			return err
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "write it to this new file (mode 0600) instead of printing it")
	return cmd
}
