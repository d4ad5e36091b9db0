package mesh

import "strconv"

func decimal(n uint32) string { return strconv.FormatUint(uint64(n), 10) }
