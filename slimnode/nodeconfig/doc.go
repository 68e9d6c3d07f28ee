// Package nodeconfig reads the YAML file of the real SLIM node and turns it
// into a slimnode.Config.
//
//	cfg, set, err := nodeconfig.Load("config.yaml")
//	if err != nil {
//		return err // every fault of the file, one per line, with its line number
//	}
//	for _, w := range set.Warnings { log.Warn().Msg(w) }
//	node, err := slimnode.New(cfg)
//
// It is stricter than upstream, which ignores unknown keys inside an endpoint
// and thereby settings people relied on: here an unknown key anywhere is an
// error, and so is a known one that asks for something this node does not do
// (TLS, authentication, peers, a control plane). A known key that is harmless
// but has no effect gives a warning. It reads no flags, and no environment but
// what ${env:NAME} names. Its functions keep no state and may run at once.
package nodeconfig
