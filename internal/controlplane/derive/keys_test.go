package derive

import (
	"encoding/json"
	"testing"
)

// Keys of RFC 7517 appendix A, and RFC 8037 appendix A.
const (
	rsaKey = `{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB"`
	ecKey  = `{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"`
	edKey  = `{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"`
)

func TestUsableKeys(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		in   string
		want int
	}{
		"all kinds":         {`{"keys":[` + rsaKey + `},` + ecKey + `},` + edKey + `}]}`, 3},
		"what fits":         {`{"keys":[` + rsaKey + `,"alg":"PS512","use":"sig"},` + ecKey + `,"alg":"ES256"},` + edKey + `,"alg":"EdDSA"}]}`, 3},
		"what does not fit": {`{"keys":[` + rsaKey + `,"alg":"RSA-OAEP"},` + rsaKey + `,"alg":"HS256"},` + ecKey + `,"alg":"ES512"},` + ecKey + `,"alg":"RS256"}]}`, 0},
		"encryption":        {`{"keys":[` + rsaKey + `,"use":"enc"}]}`, 0},
		"shared secrets":    {`{"keys":[{"kty":"oct","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"}]}`, 0},
		"one is broken":     {`{"keys":[{"kty":"RSA","n":"?","e":"AQAB"},{"kty":"new"},` + ecKey + `}]}`, 1},
		"none":              {`{"keys":[]}`, 0},
		"no set":            {`[]`, 0},
		"no JSON":           {`keys`, 0},
	} {
		got := UsableKeys(c.in)
		var set struct{ Keys []any }
		if got != "" && json.Unmarshal([]byte(got), &set) != nil || len(set.Keys) != c.want || (got == "") != (c.want == 0) {
			t.Errorf("%s: %d keys, want %d: %s", name, len(set.Keys), c.want, got)
		}
		if again := UsableKeys(got); again != got {
			t.Errorf("%s: what is usable changes: %s", name, again)
		}
	}
}
