package main

import (
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"
)

const rootHelp = `slimbridge carries MCP over SLIM (Secure Low-Latency Interactive Messaging):
programs call each other by name, org/ns/app, instead of by address. They meet
at a node, which forwards their messages and cannot read them: sessions are
encrypted end to end with MLS (RFC 9420).

Try it:
  slimbridge demo

Put an MCP server on SLIM, with a node of its own, and use it by name:
  slimbridge mcp serve   acme/tools/files --node embedded -- npx -y @modelcontextprotocol/server-filesystem /data
  slimbridge mcp connect acme/tools/files

The second line is what an entry in "mcpServers" of an MCP host starts.`

const rootEnvironment = `Environment (flags win):
  SLIM_NODE                SLIM node, as --node (default http://127.0.0.1:46357)
  SLIM_SHARED_SECRET_FILE  file with the shared secret, as --secret-file
  SLIM_SHARED_SECRET       the shared secret itself; set one of the two
                           (neither: the secret of this user, made by "mcp serve",
                           "receive" and "group join")
  SLIM_JWT_KEY, ..         each --jwt-* and --spiffe* flag has a variable: a JWT or
  SLIM_SPIFFE, ..          SPIFFE identity instead of a secret
  NO_COLOR                 log lines without colours

Exit codes: 0 done, 1 failure, 2 usage, 130 SIGINT, 143 SIGTERM`

const usageTemplate = `Usage:
  {{if .HasAvailableSubCommands}}{{.CommandPath}} COMMAND{{else}}{{.UseLine}}{{end}}{{if .HasExample}}

Examples:
{{.Example}}{{end}}{{if .HasAvailableSubCommands}}

Commands:{{range .Commands}}{{if or .IsAvailableCommand (eq .Name "help")}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}{{end}}{{if .HasAvailableLocalFlags}}

Flags:
{{.LocalFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}{{if .HasAvailableInheritedFlags}}

Global flags:
{{.InheritedFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}{{if not .HasParent}}

` + rootEnvironment + `{{end}}{{if .HasAvailableSubCommands}}

See {{.CommandPath}} COMMAND --help.{{end}}
`

func (p *program) rootCommand() *cobra.Command {
	root := p.group("slimbridge", "MCP over SLIM: node, bridge and tools", rootHelp)
	root.SilenceErrors, root.SilenceUsage = true, true
	root.SetIn(p.stdin)
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	root.SetUsageTemplate(usageTemplate)
	root.PersistentPreRunE = func(*cobra.Command, []string) error {
		if err := p.startLog(); err != nil {
			return err
		}
		p.running = true
		return nil
	}
	flags := root.PersistentFlags()
	flags.StringVar(&p.logLevel, "log-level", "", "trace, debug, info, warn, error or off (default info)")
	flags.StringVar(&p.logFormat, "log-format", "text", "text or json, on standard error")
	complete(root, "log-level", logLevels...)
	complete(root, "log-format", "text", "json")
	root.AddCommand(p.nodeCommand(), p.mcpCommand(), p.sendCommand(), p.receiveCommand(), p.groupCommand(), p.benchCommand(), p.demoCommand(), p.secretCommand(), p.versionCommand())
	root.SetHelpCommand(p.helpCommand(root))
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		if c.Name() == "completion" {
			c.Short, c.RunE = "Print a completion script for a shell", p.runGroup
		}
	}
	return root
}

// helpCommand differs from cobra's in that an unknown command is an error.
func (p *program) helpCommand(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Explain a command",
		RunE: func(_ *cobra.Command, args []string) error {
			cmd, rest, err := root.Find(args)
			if err == nil && len(rest) > 0 {
				err = unknownCommand(cmd, rest[0])
			}
			if err != nil {
				return err
			}
			cmd.InitDefaultHelpFlag()
			return cmd.Help()
		},
	}
}

// group is a command that only has others below it. Called by itself it shows
// its help and fails, so that a script that lost an argument notices.
func (p *program) group(use, short, long string) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Long: long,
		Args: cobra.ArbitraryArgs, SuggestionsMinimumDistance: 2,
		RunE: p.runGroup,
	}
}

func (p *program) runGroup(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return unknownCommand(cmd, args[0])
	}
	cmd.SetOut(p.stderr)
	_ = cmd.Help()
	return usagef("which command?")
}

func unknownCommand(group *cobra.Command, word string) error {
	if like := group.SuggestionsFor(word); len(like) > 0 {
		return usagef("unknown command %q, did you mean %q?", word, like[0])
	}
	return usagef("unknown command %q", word)
}

// complete offers the values of a flag to the shell.
func complete(cmd *cobra.Command, flag string, values ...string) {
	err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
	if err != nil {
		panic(err) // the flag does not exist: a mistake in this package
	}
}

// oneOf checks a flag with a fixed set of values.
func oneOf(flag, value string, values ...string) error {
	if slices.Contains(values, value) {
		return nil
	}
	return usagef("--%s %q: want %s", flag, value, orList(values))
}

func orList(values []string) string {
	last := len(values) - 1
	return strings.Join(values[:last], ", ") + " or " + values[last]
}

var logLevels = []string{"trace", "debug", "info", "warn", "error", "off"}

// startLog sets up the logger from the flags.
func (p *program) startLog() error {
	if err := oneOf("log-format", p.logFormat, "text", "json"); err != nil {
		return err
	}
	if p.logLevel != "" {
		if err := oneOf("log-level", p.logLevel, logLevels...); err != nil {
			return err
		}
	}
	p.setLog(p.logLevel)
	return nil
}

// logTime is the form of times in log lines.
const logTime = "2006-01-02T15:04:05.000Z07:00"

// setLog makes the logger with a checked level, "" meaning info.
func (p *program) setLog(level string) {
	lvl := zerolog.InfoLevel
	switch level {
	case "":
	case "off":
		lvl = zerolog.Disabled
	default:
		lvl, _ = zerolog.ParseLevel(level)
	}
	out := p.stderr
	if p.logFormat == "text" {
		console := zerolog.ConsoleWriter{Out: p.stderr, NoColor: !p.colour, TimeFormat: "15:04:05.000"}
		if !p.colour { // no terminal: the lines are kept somewhere
			console.TimeFormat = logTime
		}
		out = console
	}
	p.log = zerolog.New(out).Level(lvl).Hook(stamp{})
}

// stamp adds the time to log lines, finer than zerolog's own.
type stamp struct{}

// Run implements [zerolog.Hook].
func (stamp) Run(e *zerolog.Event, _ zerolog.Level, _ string) {
	e.Str(zerolog.TimestampFieldName, time.Now().Format(logTime))
}
