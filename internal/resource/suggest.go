package resource

import "strings"

// Nearest returns the candidate a user most likely meant by word, or "".
func Nearest(word string, candidates []string) string { return nearest(word, candidates) }

// nearest returns the candidate a user most likely meant by word, or "". Equal
// letters (case and separators aside) win at once; otherwise at most a third of
// the letters may differ.
func nearest(word string, candidates []string) string {
	folded := foldName(word)
	best, bestDistance := "", max(1, min(3, len(folded)/3))+1
	for _, c := range candidates {
		f := foldName(c)
		if f == folded {
			return c
		}
		if d := editDistance(folded, f, bestDistance); d < bestDistance {
			best, bestDistance = c, d
		}
	}
	return best
}

// foldName drops what separates snake_case, kebab-case and lowerCamel.
func foldName(s string) string {
	return strings.ToLower(strings.NewReplacer("_", "", "-", "", " ", "").Replace(s))
}

// editDistance counts insertions, deletions and substitutions between a and b,
// giving up at limit. Words longer than 64 bytes are never near: keeps it cheap.
func editDistance(a, b string, limit int) int {
	if len(a) > 64 || len(b) > 64 || len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	var rows [2][65]int
	prev, cur := &rows[0], &rows[1]
	for j := range len(b) + 1 {
		prev[j] = j
	}
	for i := range len(a) {
		cur[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			cur[j+1] = min(prev[j]+cost, prev[j+1]+1, cur[j]+1)
		}
		prev, cur = cur, prev
	}
	return min(prev[len(b)], limit)
}

// didYouMean is the hint for an unknown name, "" when nothing is near.
func didYouMean(word string, candidates []string) string {
	if n := nearest(word, candidates); n != "" {
		return "did you mean " + n + "?"
	}
	return ""
}
