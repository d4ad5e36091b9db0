package snapshot

// AccessLog is one log of requests or connections. Exactly one sink is set.
type AccessLog struct {
	Name   string
	Filter *LogFilter // nil: everything is logged
	File   *FileLog
	GRPC   *GRPCLog
	OTLP   *OTLPLog
	Stats  *StatsLog
}

// FileLog writes lines to a file; /dev/stdout and /dev/stderr are usual.
type FileLog struct {
	Path string
	// Text, or JSON. A newline is part of Text; JSON lines get one.
	Text *Format
	JSON *JSONFormat
}

// JSONFormat is an object of formatted values, in order.
type JSONFormat struct {
	Fields []JSONField
	// OmitEmpty leaves out fields without value instead of writing null.
	OmitEmpty bool
}

// JSONField is a field with one of: Value (kept as number or bool when it is a
// single operator of that type), Object, List, or a constant in JSON.
type JSONField struct {
	Key    string
	Value  *Format
	Object *JSONFormat
	List   []JSONField // keys are empty
	Const  string
}

// GRPCLog streams entries to an access log service (envoy.service.accesslog.v3).
type GRPCLog struct {
	TCP             bool // TCP entries, else HTTP
	LogName         string
	Cluster         string
	Authority       string
	BufferBytes     uint32
	FlushMillis     uint32
	RequestHeaders  []string
	ResponseHeaders []string
	Trailers        []string
	FilterState     []string
}

// OTLPLog sends log records to an OpenTelemetry collector.
type OTLPLog struct {
	LogName    string
	Cluster    string
	Authority  string
	HTTPPath   string
	Body       *Format
	Attributes *JSONFormat
	Resource   *JSONFormat
}

// StatsLog turns each entry into counters and histograms (envoy.access_loggers.stats).
type StatsLog struct {
	StatPrefix string
	Counters   []StatsMetric
	Histograms []StatsMetric
	Gauges     []StatsMetric
}

// StatsMetric is one metric of a StatsLog.
type StatsMetric struct {
	Name  string
	Tags  []StatsTag
	Fixed uint64
	Value *Format // nil: Fixed
	Unit  string  // of histograms: "", Bytes, Microseconds, Milliseconds, Percent
	// AddAt, SubtractAt are access log types at which a gauge goes up and down.
	AddAt, SubtractAt string
}

// StatsTag is a label.
type StatsTag struct {
	Name  string
	Value *Format
}

// LogFilterKind is the kind of a log filter.
type LogFilterKind uint8

// Log filters.
const (
	LogStatus       LogFilterKind = iota // response code compared with Value
	LogDuration                          // milliseconds compared with Value
	LogNotHealth                         // not a health check
	LogTraceable                         // traced requests only
	LogRuntime                           // fraction of requests
	LogAnd                               // all Subs
	LogOr                                // any of Subs
	LogHeader                            // Header matches the request
	LogResponseFlag                      // any of Flags; none given: any flag at all
	LogGRPCStatus                        // any of Statuses, or none of them when Exclude
	LogMetadata                          // Metadata matches
	LogType                              // any of Types, or none when Exclude
	LogCEL                               // Expr is true
)

// Comparison of a log filter.
type Comparison uint8

// Comparisons.
const (
	CompareEQ Comparison = iota
	CompareGE
	CompareLE
	CompareNE
)

// LogFilter decides whether an entry is written.
type LogFilter struct {
	Kind     LogFilterKind
	Compare  Comparison
	Value    uint32
	Fraction int32 // LogRuntime: millionths
	// IndependentRandom: do not use the request id as source of randomness.
	IndependentRandom bool
	Subs              []*LogFilter
	Header            *HeaderMatch
	Flags             []string
	Statuses          []string
	Types             []string
	Exclude           bool
	Metadata          *MetadataMatch
	// MatchIfAbsent: outcome of LogMetadata when the key is not there.
	MatchIfAbsent bool
	Expr          *Expr
}
