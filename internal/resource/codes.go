package resource

// Codes of findings made while reading and validating resources. IST codes are
// Istio's, used where the finding is the same; MSH codes are our own.
const (
	// CodeDeprecated: a field or kind still works but has a successor.
	CodeDeprecated = "IST0002"
	// CodeSchema: the object does not fit its kind: unknown field, wrong type,
	// impossible value, rules across fields. The object is not used.
	CodeSchema = "IST0106"
	// CodeSchemaWarning: the object is used, but part of it is likely not what was meant.
	CodeSchemaWarning = "IST0133"
	// CodeUnreachableRule: a route rule that no request can reach.
	CodeUnreachableRule = "IST0130"
	// CodeIneffectiveMatch: a match that an earlier rule already takes.
	CodeIneffectiveMatch = "IST0131"

	// CodeSyntax: the text is not YAML or JSON.
	CodeSyntax = "MSH0101"
	// CodeLimit: a file, document or object is larger or deeper than allowed.
	CodeLimit = "MSH0102"
	// CodeUnknownKind: an object of a kind the mesh does not read; it is left alone.
	CodeUnknownKind = "MSH0103"
	// CodeDuplicate: two places define the same object; one of them is used.
	CodeDuplicate = "MSH0104"
	// CodeLastGood: an edit is broken, the version before it stays in force.
	CodeLastGood = "MSH0105"
	// CodeFailClosed: a policy is broken and has no last good version; what stands
	// in for it refuses.
	CodeFailClosed = "MSH0107"
	// CodeSource: a file or folder cannot be read.
	CodeSource = "MSH0106"
)
