package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"text/tabwriter"
)

// benchResult is one line of the report and one object of the JSON array.
type benchResult struct {
	Case     string `json:"case"`
	Size     int    `json:"size"` // payload bytes
	MLS      bool   `json:"mls"`
	Reliable bool   `json:"reliable"`
	Node     string `json:"node"`
	To       string `json:"to"`

	N    int     `json:"n"`    // round trips asked for
	Lost int     `json:"lost"` // of them without an answer, unreliable only
	P50  float64 `json:"p50_ms"`
	P99  float64 `json:"p99_ms"`
	Rate float64 `json:"msgs_per_s"` // round trips, one at a time

	OneWayN int      `json:"one_way_n"`          // messages that arrived
	OneWay  *float64 `json:"one_way_msgs_per_s"` // null: not measured
}

func writeResults(w io.Writer, format string, results []benchResult) error {
	for i := range results {
		r := &results[i]
		r.P50, r.P99, r.Rate = round(r.P50, 4), round(r.P99, 4), round(r.Rate, 1)
		if r.OneWay != nil {
			*r.OneWay = round(*r.OneWay, 1)
		}
	}
	if format == "json" {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(results)
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "case\tn\tlost\tp50 ms\tp99 ms\tround trips/s\tone-way/s\tone-way MB/s\t")
	for _, r := range results {
		rate, bytes := "-", "-"
		if r.OneWay != nil {
			rate = fmt.Sprintf("%.0f", *r.OneWay)
			bytes = fmt.Sprintf("%.1f", *r.OneWay*float64(r.Size)/1e6)
		}
		fmt.Fprintf(tw, "%s\t%d\t%d\t%.3f\t%.3f\t%.0f\t%s\t%s\t\n", r.Case, r.N, r.Lost, r.P50, r.P99, r.Rate, rate, bytes)
	}
	return tw.Flush()
}

func round(f float64, digits int) float64 {
	scale := math.Pow(10, float64(digits))
	return math.Round(f*scale) / scale
}
