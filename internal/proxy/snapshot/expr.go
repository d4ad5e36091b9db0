package snapshot

// Expr is a compiled expression of the part of CEL that is supported; see
// ParseExpr.
type Expr struct {
	Source string
	root   *exprNode
}

type exprNode struct{}
