package nodeconfig

import (
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

func (d *decoder) top(n *yaml.Node) {
	services := false
	d.mapping(value{n, "", n.Line}, fields{
		"tracing": d.tracing,
		"runtime": d.runtime,
		"services": func(v value) {
			services = true
			d.services(v)
		},
	})
	if !services {
		d.fail(value{n, "services", n.Line}, "missing: want a service such as slim/0 with a dataplane")
	}
}

func (d *decoder) tracing(v value) {
	d.mapping(v, fields{
		"log_level":            d.logLevel,
		"display_thread_names": d.unusedBool, // set in every sample: not worth a warning
		"display_thread_ids":   d.unusedBool,
		"filters": func(v value) {
			d.list(v, func(v value) { d.text(v) })
			d.warn(v, "no effect: this node has no log targets, log_level decides")
		},
		"opentelemetry": d.opentelemetry,
	})
}

func (d *decoder) logLevel(v value) {
	s, ok := d.text(v)
	if !ok {
		return
	}
	s = strings.ToLower(s)
	if levels := []string{"trace", "debug", "info", "warn", "error"}; !slices.Contains(levels, s) {
		d.fail(v, "%s is none of %s", d.show(v), strings.Join(levels, ", "))
		return
	}
	d.set.LogLevel = s
}

func (d *decoder) opentelemetry(v value) {
	d.mapping(v, fields{
		"enabled": func(v value) {
			if on, ok := d.boolean(v); ok && on {
				d.fail(v, "OpenTelemetry is not supported; set it to false")
			}
		},
		"service_name":          d.unusedText,
		"service_version":       d.unusedText,
		"environment":           d.unusedText,
		"metrics_interval_secs": d.unusedNumber,
		"grpc":                  ignore,
	})
}

func (d *decoder) runtime(v value) {
	d.mapping(v, fields{
		"n_cores": func(v value) {
			if n, ok := d.number(v, 1<<16); ok && n > 0 {
				d.warn(v, "no effect: set GOMAXPROCS in the environment instead")
			}
		},
		"thread_name": d.unusedText,
		"drain_timeout": func(v value) {
			if dur, ok := d.duration(v); ok {
				d.set.DrainTimeout = dur
			}
		},
	})
}

// serviceKey is kind/name; upstream does not compare the kind with "slim".
var serviceKey = regexp.MustCompile(`^[a-zA-Z][0-9a-zA-Z_]{0,62}/[a-z0-9-]+$`)

func (d *decoder) services(v value) {
	v = follow(v)
	if v.Kind != yaml.MappingNode || len(v.Content) == 0 {
		d.fail(v, "want one service, such as slim/0")
		return
	}
	if len(v.Content) > 2 {
		d.fail(value{v.Content[2], v.path, v.Content[2].Line}, "a second service: this node runs one per process; start another process for it")
		return
	}
	if key := v.Content[0]; !serviceKey.MatchString(key.Value) {
		d.fail(value{key, v.path, key.Line}, "service key %q: want kind/name, such as slim/0", key.Value)
		return
	}
	d.service(value{v.Content[1], join(v.path, v.Content[0].Value), v.Content[0].Line})
}

func (d *decoder) service(v value) {
	planes := 0
	before := len(d.errs)
	plane := func(v value) {
		if planes++; planes > 1 {
			d.fail(v, "dataplane and its old name pubsub are both given; keep dataplane")
			return
		}
		d.dataplane(v)
	}
	d.mapping(v, fields{
		"node_id": optional(func(v value) {
			if s, ok := d.text(v); ok {
				d.cfg.NodeID = s
			}
		}),
		"domain_name": optional(func(v value) {
			d.text(v)
			d.warn(v, "no effect: it is for peers and control planes, which this node does not have")
		}),
		"auth":      optional(d.refuse("it identifies a node to a control plane, which is not supported; remove it")),
		"dataplane": plane,
		"pubsub": func(v value) {
			d.warn(v, "old name of dataplane; real nodes of today reject it")
			plane(v)
		},
		"controller":      d.controller,
		"peers":           optional(d.refuse("replicas are not supported; remove it")),
		"default_gateway": d.oneOf("auto", "off"), // for apps inside the process; there are none
	})
	if len(d.cfg.Listeners)+len(d.cfg.Clients) == 0 && len(d.errs) == before {
		d.fail(v, "dataplane needs at least one server or client")
	}
}

func (d *decoder) dataplane(v value) {
	d.mapping(v, fields{
		"enforce_pqc": func(v value) {
			if on, ok := d.boolean(v); ok {
				d.cfg.RequirePQC = on
			}
		},
		"servers":          func(v value) { d.list(v, d.server) },
		"clients":          func(v value) { d.list(v, d.client) },
		"outbound_clients": d.mustBeEmpty("links ordered by a control plane are not supported; remove the entries"),
	})
}

func (d *decoder) controller(v value) {
	empty := d.mustBeEmpty("a control plane is not supported; remove the entries")
	d.mapping(v, fields{"servers": empty, "clients": empty, "outbound_clients": empty})
}

// refuse is the reader of a key that asks for what this node does not do.
func (d *decoder) refuse(why string) func(value) {
	return func(v value) { d.fail(v, "%s", why) }
}

func (d *decoder) mustBeEmpty(why string) func(value) {
	return func(v value) {
		if !isEmpty(v) {
			d.fail(v, "%s", why)
		}
	}
}

func (d *decoder) oneOf(words ...string) func(value) {
	return func(v value) {
		if s, ok := d.text(v); ok && !slices.Contains(words, s) {
			d.fail(v, "%s is none of %s", d.show(v), strings.Join(words, ", "))
		}
	}
}

// Readers of keys without effect: the form is checked all the same.
func (d *decoder) unusedBool(v value)   { d.boolean(v) }
func (d *decoder) unusedText(v value)   { d.text(v) }
func (d *decoder) unusedNumber(v value) { d.number(v, 1<<32) }

// noEffect warns that a key is known and not obeyed.
func (d *decoder) noEffect(why string) func(value) {
	return optional(func(v value) { d.warn(v, "no effect: %s", why) })
}

// ignore takes free-form values that mean nothing to a node.
func ignore(value) {}
