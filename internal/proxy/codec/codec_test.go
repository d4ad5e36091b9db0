package codec

import (
	"errors"
	"testing"
)

func TestDefaultsFillOnlyWhatIsNotSet(t *testing.T) {
	t.Parallel()
	l := Limits{MaxHeaders: 7, HighWater: -1}.Defaults()
	if l.MaxHeaders != 7 {
		t.Errorf("MaxHeaders = %d, want the 7 that was set", l.MaxHeaders)
	}
	if l.MaxHeaderBytes != 60<<10 || l.HighWater != 256<<10 || l.LowWater >= l.HighWater {
		t.Errorf("defaults are %+v", l)
	}
	if l.Defaults() != l {
		t.Error("Defaults changes its own result")
	}
}

func TestNamesForLogs(t *testing.T) {
	t.Parallel()
	for p, want := range map[Protocol]string{HTTP10: "HTTP/1.0", HTTP11: "HTTP/1.1", HTTP2: "HTTP/2", 0: "-", 99: "-"} {
		if p.String() != want {
			t.Errorf("Protocol(%d) = %q, want %q", p, p, want)
		}
	}
	for r := ResetNone; r <= ResetDrain; r++ {
		if s := r.String(); s == "unknown" || (s == "") != (r == ResetNone) {
			t.Errorf("Reset(%d) has no name of its own: %q", r, s)
		}
	}
	if Reset(99).String() != "unknown" {
		t.Error("an unknown reset has a name")
	}
}

func TestErrorIsItsDetail(t *testing.T) {
	t.Parallel()
	var e *Error
	err := error(&Error{Status: 400, Detail: "http1.missing_host"})
	if err.Error() != "http1.missing_host" || !errors.As(err, &e) || e.Status != 400 {
		t.Errorf("error is %v", err)
	}
}
