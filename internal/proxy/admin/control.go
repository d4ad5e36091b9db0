package admin

import (
	"io"
	"net/http"

	"github.com/meshctl/meshctl/internal/proxy/stats"
)

const ok = "OK\n"

// stateNames are those of envoy.admin.v3.ServerInfo.State.
var stateNames = [...]string{"LIVE", "DRAINING", "PRE_INITIALIZING", "INITIALIZING"}

func (s *Server) state() string {
	n := s.o.Control.State()
	if n < 0 || n >= int64(len(stateNames)) {
		n = stats.StatePreInitializing
	}
	return stateNames[n]
}

func (s *Server) ready(w http.ResponseWriter, _ *http.Request) {
	up, why := s.o.Control.Ready()
	state := s.state()
	if up && state == "LIVE" {
		_, _ = io.WriteString(w, state+"\n")
		return
	}
	if why != "" {
		state += ": " + why
	}
	http.Error(w, state, http.StatusServiceUnavailable)
}

func (s *Server) drain(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	s.o.Control.Drain(q.Has("inboundonly"), q.Has("graceful"))
	_, _ = io.WriteString(w, ok)
}

func (s *Server) health(fail bool) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		s.o.Control.FailHealth(fail)
		_, _ = io.WriteString(w, ok)
	}
}

func (s *Server) reopen(w http.ResponseWriter, _ *http.Request) {
	s.o.Control.ReopenLogs()
	_, _ = io.WriteString(w, ok)
}

func (s *Server) reset(w http.ResponseWriter, _ *http.Request) {
	s.o.Stats.Reset()
	_, _ = io.WriteString(w, ok)
}

func (s *Server) quit(w http.ResponseWriter, _ *http.Request) {
	_, _ = io.WriteString(w, ok)
	if f, can := w.(http.Flusher); can {
		f.Flush()
	}
	s.o.Control.Quit()
}
