package jwt

import "crypto/sha256"

// Bounds of a cache. Tokens of more than maxCached bytes are verified each time.
const (
	cacheHalf = 256
	maxCached = 4096
)

// cache remembers tokens whose signature was right. It has two halves: when the
// young one is full it becomes the old one, and what is used again moves back. It
// belongs to one worker, and lives as long as the keys that it was made for.
type cache struct {
	young, old map[[sha256.Size]byte]*verified
}

// verified is a token whose signature is right, and what is said about it.
type verified struct {
	token *Token
	meta  map[string]any // the payload with lists for space-delimited claims
}

func (c *cache) get(raw string) *verified {
	if len(raw) > maxCached || len(c.young)+len(c.old) == 0 {
		return nil
	}
	k := sha256.Sum256([]byte(raw))
	if v := c.young[k]; v != nil {
		return v
	}
	v := c.old[k]
	if v != nil {
		c.set(k, v)
	}
	return v
}

func (c *cache) put(raw string, v *verified) {
	if len(raw) <= maxCached {
		c.set(sha256.Sum256([]byte(raw)), v)
	}
}

func (c *cache) set(k [sha256.Size]byte, v *verified) {
	if len(c.young) >= cacheHalf || c.young == nil {
		c.old, c.young = c.young, make(map[[sha256.Size]byte]*verified, 16)
	}
	c.young[k] = v
}
