package snapshot

import (
	"fmt"
	"net/netip"
	"reflect"
	"regexp"
	"strings"
	"time"
)

// Dump prints any value of this package as an indented outline: fields that are
// not zero, maps by key, keys and certificates never. It is what goldens and
// people read; its form is not for programs.
func Dump(v any) string {
	var b strings.Builder
	dump(&b, reflect.ValueOf(v), 0, map[uintptr]bool{})
	return b.String()
}

// scalar prints values that fit on a line.
func scalar(v reflect.Value) (string, bool) {
	if !v.IsValid() || !v.CanInterface() {
		return "", false
	}
	switch x := v.Interface().(type) {
	case time.Duration:
		return x.String(), true
	case time.Time:
		return x.UTC().Format(time.RFC3339), true
	case netip.AddrPort, netip.Prefix, netip.Addr, Direction, TransportProtocol, PolicyAction:
		return fmt.Sprint(x), true
	case *regexp.Regexp:
		return x.String(), x != nil
	case StringMatch:
		return x.String(), true
	case *StringMatch:
		if x != nil {
			return x.String(), true
		}
	case *Format:
		if x != nil {
			return fmt.Sprintf("%q", x.Source), true
		}
	case *Expr:
		if x != nil {
			return fmt.Sprintf("%q", x.Source), true
		}
	case *Secret:
		if x != nil {
			return fmt.Sprintf("secret %q certificate=%t trust=%t until %s", x.Name, x.Certificate != nil, x.Validation != nil, x.NotAfter.UTC().Format(time.RFC3339)), true
		}
	case []byte:
		return fmt.Sprintf("%q", x), true
	}
	switch v.Kind() {
	case reflect.String:
		return v.String(), true
	case reflect.Bool, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Float64:
		return fmt.Sprint(v.Interface()), true
	default:
		return "", false
	}
}

func dump(b *strings.Builder, v reflect.Value, depth int, seen map[uintptr]bool) {
	pad := strings.Repeat("  ", depth)
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() || seen[v.Pointer()] {
			return
		}
		seen[v.Pointer()] = true
		dump(b, v.Elem(), depth, seen)
		delete(seen, v.Pointer())
	case reflect.Interface:
		if !v.IsNil() {
			fmt.Fprintf(b, "%s(%s)\n", pad, strings.TrimPrefix(v.Elem().Type().String(), "*snapshot."))
			dump(b, v.Elem(), depth, seen)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if f.IsExported() && f.Name != "Index" && !v.Field(i).IsZero() {
				entry(b, f.Name, v.Field(i), depth, seen)
			}
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			entry(b, "-", v.Index(i), depth, seen)
		}
	case reflect.Map:
		iter := v.MapRange()
		byKey := map[string]reflect.Value{}
		for iter.Next() {
			byKey[fmt.Sprint(iter.Key().Interface())] = iter.Value()
		}
		for _, k := range sortedKeys(byKey) {
			entry(b, k, byKey[k], depth, seen)
		}
	default:
	}
}

func entry(b *strings.Builder, name string, v reflect.Value, depth int, seen map[uintptr]bool) {
	pad := strings.Repeat("  ", depth)
	if s, ok := scalar(v); ok {
		fmt.Fprintf(b, "%s%s: %s\n", pad, name, s)
		return
	}
	if h, ok := v.Interface().(*VirtualHost); ok && name != "-" && h != nil {
		fmt.Fprintf(b, "%s%s: virtual host %s\n", pad, name, h.Name) // a reference: printed in Hosts
		return
	}
	fmt.Fprintf(b, "%s%s:\n", pad, name)
	dump(b, v, depth+1, seen)
}
