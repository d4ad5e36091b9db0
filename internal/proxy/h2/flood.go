package h2

// Flood is a way to cost us more than it costs the peer, by frames which are
// each legal.
type Flood uint8

// Floods. Each ends the connection with GOAWAY(ENHANCE_YOUR_CALM).
const (
	FloodReset        Flood = iota // requests reset by the peer (rapid reset, CVE-2023-44487)
	FloodProvoked                  // stream errors provoked by the peer (made you reset, CVE-2025-8671)
	FloodRefused                   // streams opened beyond the limit
	FloodSettings                  // SETTINGS
	FloodPing                      // PING
	FloodEmpty                     // DATA, HEADERS and CONTINUATION frames without content
	FloodPriority                  // PRIORITY, PRIORITY_UPDATE and unknown frames
	FloodWindow                    // WINDOW_UPDATE without data to match
	FloodStray                     // frames for streams that are closed
	FloodContinuation              // one header block in too many or too large pieces
	FloodHPACK                     // a small header block that decodes to a huge one
	FloodOutput                    // frames that want an answer from a peer which does not read
	FloodInterim                   // responses with status 1xx without end
	numFloods
)

// String is the detail of the error that a flood ends in.
func (f Flood) String() string {
	return [numFloods]string{
		"http2.flood.reset", "http2.flood.provoked_reset", "http2.flood.refused", "http2.flood.settings",
		"http2.flood.ping", "http2.flood.empty_frame", "http2.flood.priority", "http2.flood.window_update",
		"http2.flood.stray_frame", "http2.flood.continuation", "http2.flood.hpack", "http2.flood.output",
		"http2.flood.interim",
	}[f]
}

// rate is how often something may happen: burst at once, then perSecond.
type rate struct{ burst, perSecond int32 }

func rateOf(f Flood, maxStreams int) rate {
	switch n := int32(min(maxStreams, 10000)); f {
	case FloodReset:
		return rate{100 + 2*n, 100 + n}
	case FloodProvoked:
		return rate{100, 50}
	case FloodRefused:
		return rate{100 + n, 100}
	case FloodSettings:
		return rate{100, 10}
	case FloodPing, FloodPriority:
		return rate{1000, 500}
	case FloodEmpty:
		return rate{200, 50}
	case FloodWindow:
		return rate{2000, 1000}
	case FloodStray:
		return rate{1000 + 10*n, 1000}
	default:
		return rate{1000, 100}
	}
}

// budget is a token bucket which looks at the clock only when it is empty.
type budget struct {
	used int32
	last int64 // when it was refilled
}

const second = int64(1e9)

// take uses one token and reports whether there was one.
func (b *budget) take(r rate, now func() int64) bool {
	if b.used < r.burst {
		b.used++
		return true
	}
	t := now()
	elapsed := min(max(t-b.last, 0), 3600*second)
	gain := elapsed * int64(r.perSecond) / second
	if gain == 0 {
		return false
	}
	b.last = t
	b.used -= int32(min(gain, int64(b.used)))
	b.used++
	return true
}

// credit gives back n tokens: the peer has done something useful.
func (b *budget) credit(n int32) { b.used = max(b.used-n, 0) }

// spend counts one event against its budget and ends the connection when that
// is exhausted.
func (c *conn) spend(f Flood) bool {
	if c.budgets[f].take(rateOf(f, c.lim.MaxConcurrentStreams), c.opt.Now) {
		return true
	}
	return c.flood(f)
}

// spendReset is spend for a request reset by the peer. Many resets are no
// attack as long as most requests are let finish.
func (c *conn) spendReset() bool {
	c.resets++
	if c.budgets[FloodReset].take(rateOf(FloodReset, c.lim.MaxConcurrentStreams), c.opt.Now) {
		return true
	}
	if 2*c.resets <= c.opened {
		c.budgets[FloodReset].used, c.budgets[FloodReset].last = 0, c.opt.Now()
		c.resets, c.opened = 0, 0
		return true
	}
	return c.flood(FloodReset)
}

// flood ends the connection; it returns false for the caller to pass on.
func (c *conn) flood(f Flood) bool {
	c.opt.Stats.Floods[f]++
	return c.fail(EnhanceYourCalm, f.String())
}
