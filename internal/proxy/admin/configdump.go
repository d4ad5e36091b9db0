package admin

import (
	"fmt"
	"io"
	"net/http"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

const adminType = "type.googleapis.com/envoy.admin.v3."

// section is one field of a dump: a list of entries, made one by one.
type section struct {
	field string
	// entry is the message type of one entry, for ?resource=.
	entry string
	// each calls yield for every entry whose name matches, until it returns false.
	each func(match func(name string) bool, yield func(proto.Message) bool)
}

// dump is one element of configs.
type dump struct {
	name     string // message type below envoy.admin.v3
	head     proto.Message
	headName string // field of head's content, for masks
	sections []section
	eds      bool // only with ?include_eds
}

// dumpQuery is what /config_dump was asked for.
type dumpQuery struct {
	resource string
	mask     []string // patterns of field names; empty: all
	eds      bool
	names    *regexp.Regexp
}

func parseDumpQuery(r *http.Request) (dumpQuery, error) {
	q := r.URL.Query()
	out := dumpQuery{resource: q.Get("resource"), eds: q.Has("include_eds") && q.Get("include_eds") != "false"}
	if m := q.Get("mask"); m != "" {
		if len(m) > maxPattern {
			return out, fmt.Errorf("mask of %d bytes, at most %d", len(m), maxPattern)
		}
		for p := range strings.SplitSeq(m, ",") {
			if strings.Contains(p, ".") {
				return out, fmt.Errorf("mask %q: only names of top-level fields are supported, not paths", p)
			}
			if _, err := path.Match(p, ""); err != nil || p == "" {
				return out, fmt.Errorf("mask %q is not a field name", p)
			}
			out.mask = append(out.mask, p)
		}
	}
	var err error
	if out.names, err = pattern(q.Get("name_regex")); err != nil {
		return out, fmt.Errorf("name_regex: %w", err)
	}
	return out, nil
}

func (q *dumpQuery) match(name string) bool { return q.names == nil || q.names.MatchString(name) }

// wants reports whether the mask lets a field through; * stands for any text.
func (q *dumpQuery) wants(field string) bool {
	for _, p := range q.mask {
		if ok, err := path.Match(p, field); err == nil && ok {
			return true
		}
	}
	return len(q.mask) == 0
}

func (s *Server) configDump(w http.ResponseWriter, r *http.Request) {
	q, err := parseDumpQuery(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	dumps := s.dumps()
	if q.resource != "" && !hasSection(dumps, q.resource) {
		http.Error(w, fmt.Sprintf("resource %q is not one of %s", q.resource, strings.Join(sectionNames(dumps), ", ")), http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	s.stream(w, func(b io.Writer) error {
		if _, err := io.WriteString(b, `{"configs":[`); err != nil {
			return err
		}
		l := &list{w: b}
		for i := range dumps {
			if q.resource != "" {
				dumps[i].items(l, &q)
			} else if !dumps[i].eds || q.eds {
				dumps[i].write(l, &q)
			}
		}
		if l.err != nil {
			return l.err
		}
		_, err := io.WriteString(b, "]}\n")
		return err
	})
}

func hasSection(dumps []dump, name string) bool {
	return slices.Contains(sectionNames(dumps), name)
}

func sectionNames(dumps []dump) (out []string) {
	for i := range dumps {
		for _, s := range dumps[i].sections {
			out = append(out, s.field)
		}
	}
	return out
}

// write puts a whole dump into l.
func (d *dump) write(l *list, q *dumpQuery) {
	l.raw([]byte(`{"@type":` + quote(adminType+d.name)))
	put := func(text string) {
		if l.err == nil {
			_, l.err = io.WriteString(l.w, text)
		}
	}
	if d.head != nil && (d.headName == "" || q.wants(d.headName)) {
		if b, err := options().Marshal(d.head); err != nil {
			l.err = err
		} else if len(b) > 2 { // more than {}
			put("," + string(b[1:len(b)-1]))
		}
	}
	for _, s := range d.sections {
		if !q.wants(s.field) {
			continue
		}
		entries := list{w: l.w}
		begun := false
		s.each(q.match, func(m proto.Message) bool {
			if !begun {
				begun = true
				put("," + quote(s.field) + ":[")
			}
			if l.err != nil {
				return false
			}
			b, err := options().Marshal(m)
			if err == nil {
				entries.raw(b)
				err = entries.err
			}
			l.err = err
			return err == nil
		})
		if begun {
			put("]")
		}
	}
	put("}")
}

// items puts the entries of one section into l, each on its own.
func (d *dump) items(l *list, q *dumpQuery) {
	for _, s := range d.sections {
		if s.field != q.resource {
			continue
		}
		s.each(q.match, func(m proto.Message) bool {
			b, err := options().Marshal(m)
			if err != nil {
				l.err = err
				return false
			}
			if len(b) > 2 {
				l.raw([]byte(`{"@type":` + quote(adminType+s.entry) + "," + string(b[1:])))
			}
			return l.err == nil
		})
	}
}

func stamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

// bootstrap is what this proxy was started with, as Envoy would have been.
func (s *Server) bootstrap() dump {
	return dump{name: "BootstrapConfigDump", headName: "bootstrap", head: &adminv3.BootstrapConfigDump{
		Bootstrap: s.bootstrapConfig(), LastUpdated: stamp(s.o.Began),
	}}
}
