package env

import (
	"fmt"
	"time"
)

// Age prints how long ago t was, in kubectl's short form; "-" for a zero time.
func (e *Env) Age(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return ShortDuration(e.Now().Sub(t))
}

// ShortDuration prints 45s, 12m, 3h, 5d.
func ShortDuration(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	default:
		return fmt.Sprintf("%dd", int(d.Hours()/24))
	}
}
