package nodeconfig

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/slimbridge/slimbridge/slimnode"
)

// MaxFile is the largest configuration in bytes.
const MaxFile = 1 << 20

// Defaults of [Settings], as upstream.
const (
	DefaultLogLevel     = "info"
	DefaultDrainTimeout = 10 * time.Second
)

// Settings are what the file says to the program around the node.
type Settings struct {
	LogLevel     string // trace, debug, info, warn or error
	DrainTimeout time.Duration
	Warnings     []string // keys that have no effect here, each with its line
}

// Sources resolve ${env:NAME} and ${file:PATH}. Nil fields read the process
// environment and the file system.
type Sources struct {
	Env  func(name string) (string, bool)
	File func(path string) ([]byte, error)
}

// Load reads and decodes the file at path.
func Load(path string) (slimnode.Config, Settings, error) {
	b, err := readFile(path)
	if err != nil {
		return slimnode.Config{}, Settings{}, fmt.Errorf("read the node configuration: %w", err)
	}
	cfg, set, err := Decode(b, Sources{})
	if err != nil {
		return cfg, set, fmt.Errorf("%s: %w", path, err)
	}
	return cfg, set, nil
}

// Decode reads a configuration. The error joins all faults, in the order of
// the file. Values that came from a [Sources] are never part of an error.
func Decode(b []byte, src Sources) (slimnode.Config, Settings, error) {
	if len(b) > MaxFile {
		return slimnode.Config{}, Settings{}, fmt.Errorf("the configuration has more than %d bytes", MaxFile)
	}
	dec := yaml.NewDecoder(bytes.NewReader(b))
	var doc yaml.Node
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		return slimnode.Config{}, Settings{}, errors.New("the configuration is empty: want at least services")
	} else if err != nil {
		return slimnode.Config{}, Settings{}, err
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return slimnode.Config{}, Settings{}, errors.New("the configuration has more than one YAML document")
	}
	d := &decoder{
		src: src.withDefaults(),
		set: Settings{LogLevel: DefaultLogLevel, DrainTimeout: DefaultDrainTimeout},
	}
	d.substitute(&doc)
	d.top(doc.Content[0])
	if err := errors.Join(d.errs...); err != nil {
		return slimnode.Config{}, Settings{}, err
	}
	return d.cfg, d.set, d.cfg.Validate()
}

func (s Sources) withDefaults() Sources {
	if s.Env == nil {
		s.Env = os.LookupEnv
	}
	if s.File == nil {
		s.File = readFile
	}
	return s
}

// readFile reads no more than MaxFile+1 bytes.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, MaxFile+1))
}
