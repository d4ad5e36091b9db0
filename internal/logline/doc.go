// Package logline reads lines of access logs and says what they mean: Istio's
// default text, its JSON, both with what log tools write before a line.
//
//	e, ok := logline.Parse(line)
//	m := logline.Explain(e)        // what happened, why that usually is, what to do
//
// Response flags and response code details are Envoy's, with those that only the
// native proxy writes; flags.go and details.go are the tables.
package logline
