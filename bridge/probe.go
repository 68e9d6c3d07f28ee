package bridge

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"

	"github.com/slimbridge/slimbridge/adapters/mcp"
)

// maxEarly bounds the messages kept that a peer sends before its answer to the
// probe.
const maxEarly = queueSize

// probe sends the host's server/discover over a session of its own. A modern
// answer makes that session the one to use. Anything else, silence included,
// means a legacy peer, whose session is ruined by now and thrown away.
func probe(ctx context.Context, conn FramePipe, discover []byte) opened {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	early, err := probed(ctx, conn, discover)
	if err != nil {
		_ = conn.Close() // the probe is over either way
		var refusal *notModern
		if errors.As(err, &refusal) {
			return opened{legacy: true, refusal: refusal.answer}
		}
		return opened{legacy: true}
	}
	return opened{pipe: conn, early: early}
}

// notModern is the end of a probe that was answered by a legacy peer.
type notModern struct {
	answer []byte // its own "method not found", which the host may have; else nil
}

func (*notModern) Error() string { return "no modern answer" }

// probed returns what the peer sent up to and including its modern answer.
func probed(ctx context.Context, conn FramePipe, discover []byte) ([][]byte, error) {
	asked, err := mcp.Scan(discover)
	if err != nil {
		return nil, err
	}
	if err := conn.WriteFrame(ctx, discover); err != nil {
		return nil, err
	}
	var early [][]byte
	for len(early) < maxEarly {
		frame, err := conn.ReadFrame(ctx)
		if err != nil {
			return nil, err
		}
		early = append(early, frame)
		h, err := mcp.Scan(frame)
		if err != nil || h.Kind != mcp.Response || mcp.IDKey(h.ID) != mcp.IDKey(asked.ID) {
			continue
		}
		switch {
		case modernAnswer(h, frame):
			return early, nil
		case h.Failed && h.Code == mcp.CodeMethodNotFound:
			return nil, &notModern{answer: frame}
		default:
			return nil, &notModern{}
		}
	}
	return nil, &notModern{}
}

// modernAnswer recognises a DiscoverResult, and the errors -32020 to -32029 that
// only revision 2026-07-28 and its successors have.
func modernAnswer(h mcp.Header, frame []byte) bool {
	if h.Failed {
		return h.Code <= -32020 && h.Code > -32030
	}
	var answer struct {
		Result struct {
			SupportedVersions json.RawMessage `json:"supportedVersions"`
		} `json:"result"`
	}
	err := json.Unmarshal(frame, &answer)
	return err == nil && bytes.HasPrefix(answer.Result.SupportedVersions, []byte("["))
}
