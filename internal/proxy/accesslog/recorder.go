package accesslog

import (
	"fmt"

	"github.com/meshctl/meshctl/internal/proxy/flow"
	"github.com/meshctl/meshctl/internal/proxy/format"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// Recorder is one worker's access logs: a flow.Recorder.
type Recorder struct {
	set   *Files
	sinks map[*snapshot.AccessLog]*sink
	slots map[string]*slot
	line  []byte
}

// sink is a log made ready; slot is nil when nothing can be written.
type sink struct {
	slot   *slot
	cfg    *snapshot.FileLog
	filter *snapshot.LogFilter
}

// maxSinks bounds how many configurations are remembered: those of old snapshots
// are forgotten by starting anew.
const maxSinks = 4096

// Recorder makes the logs of a worker.
func (f *Files) Recorder() *Recorder {
	return &Recorder{set: f, sinks: map[*snapshot.AccessLog]*sink{}, slots: map[string]*slot{}}
}

// Check tells whether a log can be written by this package: only files can.
func Check(l *snapshot.AccessLog) error {
	switch {
	case l.File != nil && (l.File.Text != nil || l.File.JSON != nil):
		return nil
	case l.File != nil:
		return fmt.Errorf("access log %q has no format", l.Name)
	case l.GRPC != nil:
		return fmt.Errorf("access log %q: sending to an access log service (gRPC) is not supported", l.Name)
	case l.OTLP != nil:
		return fmt.Errorf("access log %q: sending to an OpenTelemetry collector is not supported", l.Name)
	case l.Stats != nil:
		return fmt.Errorf("access log %q: statistics from access logs are not supported", l.Name)
	default:
		return fmt.Errorf("access log %q has no sink", l.Name)
	}
}

// Done implements flow.Recorder.
func (w *Recorder) Done(r *flow.Record) {
	for _, l := range logsOf(r) {
		w.log(l, r)
	}
}

// logsOf are the logs that concern a record.
func logsOf(r *flow.Record) []*snapshot.AccessLog {
	c := r.Conn
	if c == nil {
		return nil
	}
	switch {
	case c.Chain == nil:
		if c.Listener == nil {
			return nil
		}
		return c.Listener.AccessLogs
	case c.Chain.HTTP != nil:
		return c.Chain.HTTP.AccessLogs
	case c.Chain.TCP != nil:
		return c.Chain.TCP.AccessLogs
	default:
		return c.Listener.AccessLogs
	}
}

func (w *Recorder) log(l *snapshot.AccessLog, r *flow.Record) {
	s := w.sinks[l]
	if s == nil {
		s = w.prepare(l)
	}
	if s.slot == nil || s.filter != nil && !Keep(s.filter, r) {
		return
	}
	w.line = w.line[:0]
	if s.cfg.Text != nil {
		w.line = format.Append(w.line, s.cfg.Text, r)
	} else {
		w.line = append(format.AppendJSON(w.line, s.cfg.JSON, r), '\n')
	}
	s.slot.put(w.line)
}

// prepare binds a log to its file. One that cannot be written is told of once.
func (w *Recorder) prepare(l *snapshot.AccessLog) *sink {
	if len(w.sinks) >= maxSinks {
		clear(w.sinks)
	}
	s := &sink{cfg: l.File, filter: l.Filter}
	w.sinks[l] = s
	err := Check(l)
	if err == nil {
		s.slot, err = w.slotOf(l.File.Path)
	}
	if err != nil {
		w.set.o.Logger.Warn("access log not kept", "log", l.Name, "err", err)
	}
	return s
}

func (w *Recorder) slotOf(path string) (*slot, error) {
	if s := w.slots[path]; s != nil {
		return s, nil
	}
	f, err := w.set.open(path)
	if err != nil {
		return nil, err
	}
	s := f.slot()
	w.slots[path] = s
	return s, nil
}

// put adds a line. It never waits for the file.
func (s *slot) put(line []byte) {
	set := s.f.set
	s.mu.Lock()
	if len(s.buf)+len(line) > set.o.MaxBuffer {
		s.mu.Unlock()
		set.dropped.Add(1)
		return
	}
	first := len(s.buf) == 0
	s.buf = append(s.buf, line...)
	s.lines++
	half := !s.halved && len(s.buf) > set.o.MaxBuffer/2
	s.halved = s.halved || half
	s.mu.Unlock()
	set.written.Add(1)
	if first {
		s.f.signal()
	}
	if half {
		select {
		case s.f.full <- struct{}{}:
		default:
		}
	}
}
