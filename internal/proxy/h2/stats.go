package h2

// Stats counts what happened on the connections that share it. It belongs to
// their worker's goroutine.
type Stats struct {
	Floods         [numFloods]uint64 // connections ended, by kind
	ProtocolErrors uint64            // connections ended for another error of the peer
	StreamErrors   uint64            // streams we reset for an error of the peer
	Refused        uint64            // streams refused for the limit
	HeadersOver    uint64            // messages whose fields exceeded the limits
	Stalled        uint64            // streams reset because the peer did not take their end
	PeerResets     uint64            // RST_STREAM received
	GoAways        uint64            // GOAWAY received
}
