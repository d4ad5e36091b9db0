package snapshot

// indexedAbove is the number of routes from which on an index pays.
const indexedAbove = 8

// IndexPaths groups routes by path; nil when there are few.
func IndexPaths(routes []*Route) *PathIndex {
	if len(routes) <= indexedAbove {
		return nil
	}
	x := &PathIndex{Exact: map[string][]uint32{}, Prefix: map[string][]uint32{}}
	for i, rt := range routes {
		p, n := &rt.Match.Path, uint32(i)
		switch {
		case p.Kind == PathExact && !p.IgnoreCase:
			x.Exact[p.Value] = append(x.Exact[p.Value], n)
		case (p.Kind == PathPrefix || p.Kind == PathSeparatedPrefix) && !p.IgnoreCase:
			x.Prefix[p.Value] = append(x.Prefix[p.Value], n)
			x.Lengths = insertLength(x.Lengths, len(p.Value))
		default:
			x.Rest = append(x.Rest, n)
		}
	}
	return x
}

func insertLength(l []int, n int) []int {
	i := 0
	for i < len(l) && l[i] < n {
		i++
	}
	if i < len(l) && l[i] == n {
		return l
	}
	l = append(l, 0)
	copy(l[i+1:], l[i:])
	l[i] = n
	return l
}
