package admin

import (
	"encoding/json"
	"io"
	"net/http"
	"net/netip"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// options print messages under the names of the proto files, as Envoy does. Types
// inside of Any are known because package compile, which accepted them, links them.
func options() protojson.MarshalOptions { return protojson.MarshalOptions{UseProtoNames: true} }

// writeJSON answers with one message.
func (s *Server) writeJSON(w http.ResponseWriter, m proto.Message) {
	b, err := options().Marshal(m)
	if err != nil {
		http.Error(w, "encode answer: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(b, '\n'))
}

// list writes the elements of a JSON array one by one.
type list struct {
	w    io.Writer
	more bool
	err  error
}

// raw adds an element that is JSON already.
func (l *list) raw(b []byte) {
	if l.err != nil {
		return
	}
	if l.more {
		if _, l.err = io.WriteString(l.w, ",\n"); l.err != nil {
			return
		}
	}
	l.more = true
	_, l.err = l.w.Write(b)
}

func quote(s string) string {
	b, err := json.Marshal(s)
	if err != nil { // a string always can
		return `""`
	}
	return string(b)
}

func socketAddress(a netip.AddrPort) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: a.Addr().String(), PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(a.Port())},
	}}}
}

func pipeAddress(path string) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: path}}}
}
