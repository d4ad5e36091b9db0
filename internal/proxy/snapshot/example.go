package snapshot

// Example is a value that the condition takes; "" when none is at hand.
func (m *StringMatch) Example() string {
	if m == nil {
		return ""
	}
	candidates := []string{m.Value, "/" + m.Value}
	if m.Kind == StringRegex {
		literal, _ := m.Regex.LiteralPrefix()
		candidates = []string{literal, literal + "x", literal + "1"}
	}
	for _, s := range candidates {
		if s != "" && m.MatchString(s) {
			return s
		}
	}
	return ""
}
