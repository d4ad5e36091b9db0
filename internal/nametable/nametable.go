// Package nametable is the message by which the control plane tells sidecars
// what DNS names to answer (type istio.networking.nds.v1.NameTable), with its
// protobuf encoding. The control plane writes it, the agent's DNS proxy reads it.
package nametable

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// TypeURL names the resource type on xDS.
const TypeURL = "type.googleapis.com/istio.networking.nds.v1.NameTable"

// Info is what is known of one host.
type Info struct {
	IPs       []string // virtual address, or endpoint addresses of a headless service
	Registry  string   // Kubernetes or External
	Shortname string   // Service name; empty for hosts outside a cluster
	Namespace string
}

// Table maps a fully qualified host, possibly with a leading "*.", to its Info.
type Table map[string]Info

// Field numbers of nds.proto.
const (
	tableField     = 1
	mapKeyField    = 1
	mapValueField  = 2
	ipsField       = 1
	registryField  = 2
	shortnameField = 3
	namespaceField = 4
)

// Marshal encodes t; equal tables give equal bytes.
func (t Table) Marshal() []byte {
	hosts := make([]string, 0, len(t))
	for h := range t {
		hosts = append(hosts, h)
	}
	slices.Sort(hosts)
	var out []byte
	for _, h := range hosts {
		i := t[h]
		var v []byte
		for _, ip := range i.IPs {
			v = appendString(v, ipsField, ip)
		}
		v = appendNonEmpty(v, registryField, i.Registry)
		v = appendNonEmpty(v, shortnameField, i.Shortname)
		v = appendNonEmpty(v, namespaceField, i.Namespace)
		e := appendString(nil, mapKeyField, h)
		e = protowire.AppendTag(e, mapValueField, protowire.BytesType)
		e = protowire.AppendBytes(e, v)
		out = protowire.AppendTag(out, tableField, protowire.BytesType)
		out = protowire.AppendBytes(out, e)
	}
	return out
}

func appendString(b []byte, n protowire.Number, s string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, n, protowire.BytesType), s)
}

func appendNonEmpty(b []byte, n protowire.Number, s string) []byte {
	if s == "" {
		return b
	}
	return appendString(b, n, s)
}

// Unmarshal decodes a table; unknown fields are passed over.
func Unmarshal(b []byte) (Table, error) {
	t := Table{}
	err := eachBytes(b, func(n protowire.Number, entry []byte) error {
		if n != tableField {
			return nil
		}
		var host string
		var info Info
		err := eachBytes(entry, func(n protowire.Number, v []byte) error {
			switch n {
			case mapKeyField:
				host = string(v)
			case mapValueField:
				return info.decode(v)
			}
			return nil
		})
		t[host] = info
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("decode name table: %w", err)
	}
	return t, nil
}

func (i *Info) decode(b []byte) error {
	return eachBytes(b, func(n protowire.Number, v []byte) error {
		switch n {
		case ipsField:
			i.IPs = append(i.IPs, string(v))
		case registryField:
			i.Registry = string(v)
		case shortnameField:
			i.Shortname = string(v)
		case namespaceField:
			i.Namespace = string(v)
		}
		return nil
	})
}

// eachBytes calls fn for every length-delimited field of a message.
func eachBytes(b []byte, fn func(protowire.Number, []byte) error) error {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		if typ != protowire.BytesType {
			if n = protowire.ConsumeFieldValue(num, typ, b); n < 0 {
				return protowire.ParseError(n)
			}
			b = b[n:]
			continue
		}
		v, n := protowire.ConsumeBytes(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		if err := fn(num, v); err != nil {
			return err
		}
	}
	return nil
}
