package bugreport

import "regexp"

// secret is something that is taken out wherever it stands.
type secret struct {
	form *regexp.Regexp
	with string
}

// redactor takes out all of them.
type redactor []secret

// newRedactor knows the forms that keys, tokens and passwords have in objects, dumps and
// logs. Certificates are public, and stay.
func newRedactor() redactor {
	return redactor{
		{regexp.MustCompile(`-----BEGIN ([A-Z ]*)PRIVATE KEY-----[\s\S]*?-----END ([A-Z ]*)PRIVATE KEY-----`), "[redacted key]"},
		{regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*`), "[redacted token]"},
		{regexp.MustCompile(`(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/-]{8,}=*`), "$1 [redacted]"},
		{regexp.MustCompile(`("(?:private_key|privateKey|password|passphrase)"\s*:\s*)\{[^{}]*\}`), `$1"[redacted]"`},
		{regexp.MustCompile(`(?i)("(?:[a-z0-9_-]*(?:password|passwd|secret_?key|client_?secret|hmac_?secret|api_?key|access_?key|private_?key))"\s*:\s*)"(?:[^"\\]|\\.)*"`), `$1"[redacted]"`},
		// Environment of containers: {"name": "DB_PASSWORD", "value": "…"}, in either order.
		{regexp.MustCompile(`(?i)("name"\s*:\s*"[^"]*(?:PASSWORD|PASSWD|SECRET|TOKEN|API_?KEY|CREDENTIAL)[^"]*"\s*,\s*"value"\s*:\s*)"(?:[^"\\]|\\.)*"`), `$1"[redacted]"`},
		{regexp.MustCompile(`(?i)("value"\s*:\s*)"(?:[^"\\]|\\.)*"(\s*,\s*"name"\s*:\s*"[^"]*(?:PASSWORD|PASSWD|SECRET|TOKEN|API_?KEY|CREDENTIAL)[^"]*")`), `$1"[redacted]"$2`},
		{regexp.MustCompile(`(?i)\b((?:password|passwd|client_secret|api_?key|access_token)=)[^\s&"']+`), "$1[redacted]"},
		{regexp.MustCompile(`(://[^/\s:@"]+:)[^/\s:@"]+@`), "$1[redacted]@"},
	}
}

// redact takes secrets out of a text.
func (r redactor) redact(data []byte) []byte {
	for _, s := range r {
		data = s.form.ReplaceAll(data, []byte(s.with))
	}
	return data
}
