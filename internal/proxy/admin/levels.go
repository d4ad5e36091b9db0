package admin

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
)

// Levels are the log levels of the process by component, changed at run time.
// A logger belongs to the component that its attribute "component" names.
type Levels struct {
	mu   sync.Mutex
	all  slog.LevelVar // of loggers without component, and of new components
	byID map[string]*slog.LevelVar
}

// maxComponents bounds the levels kept.
const maxComponents = 256

// NewLevels makes levels that are all at l.
func NewLevels(l slog.Level) *Levels {
	v := &Levels{byID: map[string]*slog.LevelVar{}}
	v.all.Set(l)
	return v
}

// Handler filters what goes to base, which should let everything through.
func (l *Levels) Handler(base slog.Handler) slog.Handler {
	return &levelHandler{Handler: base, levels: l, level: &l.all}
}

// of finds or makes the level of a component.
func (l *Levels) of(component string) *slog.LevelVar {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := l.byID[component]
	if v == nil {
		if len(l.byID) >= maxComponents {
			return &l.all
		}
		v = &slog.LevelVar{}
		v.Set(l.all.Level())
		l.byID[component] = v
	}
	return v
}

// SetAll sets the level of every component.
func (l *Levels) SetAll(level slog.Level) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all.Set(level)
	for _, v := range l.byID {
		v.Set(level)
	}
}

// Set sets the level of a component that has logged, or can.
func (l *Levels) Set(component string, level slog.Level) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := l.byID[component]
	if v == nil {
		return fmt.Errorf("there is no logger %q", component)
	}
	v.Set(level)
	return nil
}

// String lists the levels as Envoy does.
func (l *Levels) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	names := make([]string, 0, len(l.byID))
	for n := range l.byID {
		names = append(names, n)
	}
	slices.Sort(names)
	var b strings.Builder
	b.WriteString("active loggers:\n")
	fmt.Fprintf(&b, "  default: %s\n", levelName(l.all.Level()))
	for _, n := range names {
		fmt.Fprintf(&b, "  %s: %s\n", n, levelName(l.byID[n].Level()))
	}
	return b.String()
}

type levelHandler struct {
	slog.Handler
	levels *Levels
	level  *slog.LevelVar
}

func (h *levelHandler) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= h.level.Level() && h.Handler.Enabled(ctx, l)
}

func (h *levelHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	out := &levelHandler{Handler: h.Handler.WithAttrs(attrs), levels: h.levels, level: h.level}
	for _, a := range attrs {
		if a.Key == "component" {
			out.level = h.levels.of(a.Value.String())
		}
	}
	return out
}

func (h *levelHandler) WithGroup(name string) slog.Handler {
	return &levelHandler{Handler: h.Handler.WithGroup(name), levels: h.levels, level: h.level}
}

// Envoy's names of levels; those that slog has no word for are near it.
const (
	levelTrace    = slog.LevelDebug - 4
	levelCritical = slog.LevelError + 4
	levelOff      = slog.LevelError + 100
)

func levelName(l slog.Level) string {
	switch {
	case l <= levelTrace:
		return "trace"
	case l <= slog.LevelDebug:
		return "debug"
	case l <= slog.LevelInfo:
		return "info"
	case l <= slog.LevelWarn:
		return "warning"
	case l <= slog.LevelError:
		return "error"
	case l <= levelCritical:
		return "critical"
	default:
		return "off"
	}
}

// ParseLevel reads Envoy's name of a level.
func ParseLevel(name string) (slog.Level, error) {
	switch strings.ToLower(name) {
	case "trace":
		return levelTrace, nil
	case "debug":
		return slog.LevelDebug, nil
	case "info":
		return slog.LevelInfo, nil
	case "warn", "warning":
		return slog.LevelWarn, nil
	case "err", "error":
		return slog.LevelError, nil
	case "critical":
		return levelCritical, nil
	case "off":
		return levelOff, nil
	default:
		return 0, fmt.Errorf("level %q is not one of trace, debug, info, warning, error, critical, off", name)
	}
}

// logging lists levels; POST sets them: ?level=debug, ?paths=a:info,b:debug, or
// ?<component>=debug.
func (s *Server) logging(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if len(q) > 0 {
		if r.Method != http.MethodPost {
			w.Header().Set("Allow", http.MethodPost)
			http.Error(w, "use POST: this changes the proxy", http.StatusMethodNotAllowed)
			return
		}
		for _, k := range slices.Sorted(maps.Keys(q)) {
			if err := s.setLevels(k, q.Get(k)); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
		}
	}
	_, _ = io.WriteString(w, s.o.Levels.String())
}

func (s *Server) setLevels(param, value string) error {
	switch param {
	case "level":
		l, err := ParseLevel(value)
		if err == nil {
			s.o.Levels.SetAll(l)
		}
		return err
	case "paths":
		type change struct {
			name  string
			level slog.Level
		}
		var all []change
		for part := range strings.SplitSeq(value, ",") {
			name, level, found := strings.Cut(part, ":")
			if !found {
				return fmt.Errorf("%q is not <logger>:<level>", part)
			}
			l, err := ParseLevel(level)
			if err != nil {
				return err
			}
			all = append(all, change{name, l})
		}
		for _, c := range all {
			if err := s.o.Levels.Set(c.name, c.level); err != nil {
				return err
			}
		}
		return nil
	default:
		l, err := ParseLevel(value)
		if err != nil {
			return err
		}
		return s.o.Levels.Set(param, l)
	}
}
