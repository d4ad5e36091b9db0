package hpack

import "github.com/meshctl/meshctl/internal/proxy/header"

// staticLen is the number of entries of the static table (RFC 7541 Appendix A).
const staticLen = 61

type staticEntry struct {
	name, value           string
	nameBytes, valueBytes []byte
	id                    header.ID
}

// staticTable is RFC 7541 Appendix A; index 0 is unused.
var staticTable = buildStatic()

// staticName is the lowest static index with a known name, 0 when there is none.
var staticName = buildStaticName()

// staticOther finds the static index of names that are no known header.ID: a
// small open-addressing table, read-only after construction.
var staticOther = buildStaticOther()

func buildStatic() [staticLen + 1]staticEntry {
	t := [staticLen + 1]staticEntry{
		{},
		{name: ":authority", value: ""},
		{name: ":method", value: "GET"},
		{name: ":method", value: "POST"},
		{name: ":path", value: "/"},
		{name: ":path", value: "/index.html"},
		{name: ":scheme", value: "http"},
		{name: ":scheme", value: "https"},
		{name: ":status", value: "200"},
		{name: ":status", value: "204"},
		{name: ":status", value: "206"},
		{name: ":status", value: "304"},
		{name: ":status", value: "400"},
		{name: ":status", value: "404"},
		{name: ":status", value: "500"},
		{name: "accept-charset", value: ""},
		{name: "accept-encoding", value: "gzip, deflate"},
		{name: "accept-language", value: ""},
		{name: "accept-ranges", value: ""},
		{name: "accept", value: ""},
		{name: "access-control-allow-origin", value: ""},
		{name: "age", value: ""},
		{name: "allow", value: ""},
		{name: "authorization", value: ""},
		{name: "cache-control", value: ""},
		{name: "content-disposition", value: ""},
		{name: "content-encoding", value: ""},
		{name: "content-language", value: ""},
		{name: "content-length", value: ""},
		{name: "content-location", value: ""},
		{name: "content-range", value: ""},
		{name: "content-type", value: ""},
		{name: "cookie", value: ""},
		{name: "date", value: ""},
		{name: "etag", value: ""},
		{name: "expect", value: ""},
		{name: "expires", value: ""},
		{name: "from", value: ""},
		{name: "host", value: ""},
		{name: "if-match", value: ""},
		{name: "if-modified-since", value: ""},
		{name: "if-none-match", value: ""},
		{name: "if-range", value: ""},
		{name: "if-unmodified-since", value: ""},
		{name: "last-modified", value: ""},
		{name: "link", value: ""},
		{name: "location", value: ""},
		{name: "max-forwards", value: ""},
		{name: "proxy-authenticate", value: ""},
		{name: "proxy-authorization", value: ""},
		{name: "range", value: ""},
		{name: "referer", value: ""},
		{name: "refresh", value: ""},
		{name: "retry-after", value: ""},
		{name: "server", value: ""},
		{name: "set-cookie", value: ""},
		{name: "strict-transport-security", value: ""},
		{name: "transfer-encoding", value: ""},
		{name: "user-agent", value: ""},
		{name: "vary", value: ""},
		{name: "via", value: ""},
		{name: "www-authenticate", value: ""},
	}
	for i := range t {
		t[i].id = header.LookupString(t[i].name)
		t[i].nameBytes = []byte(t[i].name)
		t[i].valueBytes = []byte(t[i].value)
	}
	return t
}

func buildStaticName() (t [header.NumIDs]uint8) {
	for i := staticLen; i > 0; i-- {
		if id := staticTable[i].id; id != header.Other {
			t[id] = uint8(i)
		}
	}
	return t
}

func otherSlot(name []byte) uint8 {
	n := len(name)
	return (uint8(n*29) ^ uint8(uint(name[0])*7) ^ uint8(uint(name[n/2])*13) ^ uint8(uint(name[n-1])*17)) & 127
}

func buildStaticOther() (t [128]uint8) {
	for i := 1; i <= staticLen; i++ {
		e := &staticTable[i]
		if e.id != header.Other {
			continue
		}
		s := otherSlot(e.nameBytes)
		for t[s] != 0 {
			s = (s + 1) & 127
		}
		t[s] = uint8(i)
	}
	return t
}

// findStaticName returns the static index of a name, 0 when there is none.
func findStaticName(id header.ID, name []byte) int {
	if id != header.Other {
		return int(staticName[id])
	}
	if len(name) == 0 {
		return 0
	}
	for s := otherSlot(name); ; s = (s + 1) & 127 {
		i := staticOther[s]
		if i == 0 || string(name) == staticTable[i].name {
			return int(i)
		}
	}
}

// findStaticPair returns the static index of a field with its value, 0 when
// there is none. Entries with an empty value are of no use for senders.
func findStaticPair(id header.ID, value []byte) int {
	switch id {
	case header.Method:
		return pairIn(2, 3, value)
	case header.Path:
		return pairIn(4, 5, value)
	case header.Scheme:
		return pairIn(6, 7, value)
	case header.Status:
		return pairIn(8, 14, value)
	default:
		return 0
	}
}

func pairIn(from, to int, value []byte) int {
	for i := from; i <= to; i++ {
		if string(value) == staticTable[i].value {
			return i
		}
	}
	return 0
}
