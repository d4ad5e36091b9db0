// Package format gives values to Envoy's command operators from a flow.Record:
// lines of access logs, header values, bodies of local replies.
//
//	line = format.Append(line[:0], cfg.Text, rec)   // text
//	line = format.AppendJSON(line[:0], cfg.JSON, rec) // one object
//
// Values come from clients and servers: Append escapes control characters, so
// that no value can end a line or a header; AppendJSON always writes valid JSON.
// Operators for which the record has no value give "-" (nothing with OmitEmpty),
// null in JSON. The common operators allocate nothing.
package format
