package format

import (
	"strconv"
	"strings"
	"time"

	"github.com/meshctl/meshctl/internal/proxy/flow"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// appendTime gives the operators that are points in time.
func appendTime(dst []byte, p *snapshot.FormatPart, r *flow.Record) (out []byte, ok, known bool) {
	switch p.Op {
	case snapshot.OpStartTime:
		return AppendTime(dst, r.Start.UTC(), p.Text), true, true
	case snapshot.OpStartTimeLocal:
		return AppendTime(dst, r.Start.Local(), p.Text), true, true
	case snapshot.OpEmitTime:
		return AppendTime(dst, r.Start.Add(r.End).UTC(), p.Text), true, true
	default:
		return dst, false, false
	}
}

// AppendTime writes t by a strftime pattern with Envoy's additions (%s seconds
// since 1970, %3f milliseconds and the like); "" is 2006-01-02T15:04:05.000Z.
// What is not known is written as it stands.
func AppendTime(dst []byte, t time.Time, pattern string) []byte {
	if pattern == "" {
		return appendRFC3339(dst, t)
	}
	for i := 0; i < len(pattern); i++ {
		if pattern[i] != '%' || i+1 == len(pattern) {
			dst = append(dst, pattern[i])
			continue
		}
		i++
		switch c := pattern[i]; {
		case c >= '1' && c <= '9' && i+1 < len(pattern) && pattern[i+1] == 'f':
			dst = appendFraction(dst, t, int(c-'0'))
			i++
		case c == 'E' && i+2 < len(pattern) && pattern[i+1] >= '1' && pattern[i+1] <= '9' && pattern[i+2] == 'S':
			dst = append(appendPadded(dst, t.Second(), 2), '.')
			dst = appendFraction(dst, t, int(pattern[i+1]-'0'))
			i += 2
		default:
			dst = appendDirective(dst, t, c)
		}
	}
	return dst
}

func appendDirective(dst []byte, t time.Time, c byte) []byte {
	switch c {
	case 'Y':
		return strconv.AppendInt(dst, int64(t.Year()), 10)
	case 'm':
		return appendPadded(dst, int(t.Month()), 2)
	case 'd':
		return appendPadded(dst, t.Day(), 2)
	case 'H':
		return appendPadded(dst, t.Hour(), 2)
	case 'M':
		return appendPadded(dst, t.Minute(), 2)
	case 'S':
		return appendPadded(dst, t.Second(), 2)
	case 's':
		return strconv.AppendInt(dst, t.Unix(), 10)
	case 'f':
		return appendFraction(dst, t, 9)
	case 'j':
		return appendPadded(dst, t.YearDay(), 3)
	case '%':
		return append(dst, '%')
	}
	layouts := map[byte]string{
		'y': "06", 'e': "_2", 'I': "03", 'p': "PM", 'a': "Mon", 'A': "Monday", 'b': "Jan", 'h': "Jan", 'B': "January",
		'z': "-0700", 'Z': "MST", 'T': "15:04:05", 'F': "2006-01-02", 'D': "01/02/06", 'R': "15:04", 'c': "Mon Jan _2 15:04:05 2006",
	}
	if l, ok := layouts[c]; ok {
		return t.AppendFormat(dst, l)
	}
	return append(dst, '%', c)
}

func appendRFC3339(dst []byte, t time.Time) []byte {
	y, mo, d := t.Date()
	h, mi, s := t.Clock()
	dst = append(appendPadded(dst, y, 4), '-')
	dst = append(appendPadded(dst, int(mo), 2), '-')
	dst = append(appendPadded(dst, d, 2), 'T')
	dst = append(appendPadded(dst, h, 2), ':')
	dst = append(appendPadded(dst, mi, 2), ':')
	dst = append(appendPadded(dst, s, 2), '.')
	dst = appendPadded(dst, t.Nanosecond()/1e6, 3)
	if _, off := t.Zone(); off != 0 {
		return t.AppendFormat(dst, "Z07:00")
	}
	return append(dst, 'Z')
}

// appendPadded writes v with at least width digits.
func appendPadded(dst []byte, v, width int) []byte {
	if v < 0 {
		return strconv.AppendInt(dst, int64(v), 10)
	}
	limit := 1
	for range width - 1 {
		limit *= 10
	}
	for ; limit > max(v, 1); limit /= 10 {
		dst = append(dst, '0')
	}
	return strconv.AppendInt(dst, int64(v), 10)
}

func appendFraction(dst []byte, t time.Time, digits int) []byte {
	n := t.Nanosecond()
	for range 9 - digits {
		n /= 10
	}
	return appendPadded(dst, n, digits)
}

// commonDuration reads START:END[:UNIT]; units are ms (default), us and ns.
func commonDuration(arg string, r *flow.Record) (uint64, bool) {
	from, rest, _ := strings.Cut(arg, ":")
	to, unit, _ := strings.Cut(rest, ":")
	a, ok1 := mark(from, r)
	b, ok2 := mark(to, r)
	if !ok1 || !ok2 || b < a {
		return 0, false
	}
	switch unit {
	case "", "ms":
		return uint64((b - a) / time.Millisecond), true
	case "us":
		return uint64((b - a) / time.Microsecond), true
	case "ns":
		return uint64(b - a), true
	default:
		return 0, false
	}
}

func mark(name string, r *flow.Record) (time.Duration, bool) {
	var d time.Duration
	switch name {
	case "DS_RX_BEG":
		return 0, true
	case "DS_RX_END":
		d = r.RequestEnd
	case "US_TX_BEG":
		d = r.UpstreamFirstTx
	case "US_TX_END":
		d = r.UpstreamLastTx
	case "US_RX_BEG":
		d = r.UpstreamFirstRx
	case "US_RX_END":
		d = r.UpstreamLastRx
	case "DS_TX_BEG":
		d = r.ResponseStart
	case "DS_TX_END":
		d = r.End
	default:
		return 0, false
	}
	return d, d > 0
}
