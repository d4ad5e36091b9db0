package hpack

import (
	"errors"

	"github.com/meshctl/meshctl/internal/proxy/header"
)

// Errors of a header block. All of them end the connection with
// COMPRESSION_ERROR (RFC 9113 §4.3): the tables are no longer in step.
var (
	errIndex      = errors.New("hpack: index outside of the tables")
	errUpdateLate = errors.New("hpack: table size update after a field, or a third one")
	errUpdateSize = errors.New("hpack: table size update above the limit")
	errNoUpdate   = errors.New("hpack: table size update missing after the limit was lowered")
)

// keepScratch is the largest scratch buffer kept between blocks, in bytes.
const keepScratch = 4 << 10

// Limits bound what one header block may decode to.
type Limits struct {
	Bytes  int // name + value + 32 for each field
	Fields int
}

// Block is what decoding a header block found out. When the limits are exceeded
// the rest is decoded but not stored, so that the tables stay in step.
type Block struct {
	Bytes  int  // size of all fields, stored or not
	Fields int  // number of all fields
	Over   bool // the limits are exceeded; the list is not complete
	Bad    Bad  // what is wrong with some field
}

// Decoder decodes the header blocks of one direction of a connection. Use
// NewDecoder. It belongs to one goroutine.
type Decoder struct {
	tab        table
	limit      uint32 // largest table size the peer may choose
	mustUpdate bool
	scratch    []byte // text of Huffman-coded strings: name, then value
	block      Block
	lim        Limits
}

// NewDecoder makes a decoder with a dynamic table of at most size bytes.
func NewDecoder(size int) *Decoder {
	d := &Decoder{}
	d.Init(size)
	return d
}

// Init makes d like a new decoder.
func (d *Decoder) Init(size int) {
	*d = Decoder{limit: uint32(size), scratch: d.scratch[:0]}
	d.tab.max = uint32(size)
}

// SetLimit changes the largest table size the peer may choose. Call it when the
// peer has acknowledged the setting. A peer using more must say in its next
// block that it uses less (RFC 7541 §4.2).
func (d *Decoder) SetLimit(size int) {
	d.limit = uint32(size)
	d.mustUpdate = d.tab.max > d.limit
}

// Decode appends the fields of a complete header block to out. Names are kept as
// sent: Bad tells if they are not lower case.
func (d *Decoder) Decode(b []byte, out *header.List, lim Limits) (Block, error) {
	d.block, d.lim = Block{}, lim
	var err error
	for updates := 0; len(b) > 0 && b[0]&0xe0 == 0x20; updates++ {
		if updates == 2 { // the smallest size in between and the last one
			return d.block, errUpdateLate
		}
		if b, err = d.sizeUpdate(b); err != nil {
			return d.block, err
		}
	}
	if d.mustUpdate && len(b) > 0 {
		return d.block, errNoUpdate
	}
	for len(b) > 0 {
		switch c := b[0]; {
		case c&0x80 != 0:
			b, err = d.indexed(b, out)
		case c&0x40 != 0:
			b, err = d.literal(b, 6, out)
		case c&0x20 != 0:
			err = errUpdateLate
		default:
			b, err = d.literal(b, 4, out)
		}
		if err != nil {
			return d.block, err
		}
	}
	if cap(d.scratch) > keepScratch {
		d.scratch = nil
	}
	return d.block, nil
}

func (d *Decoder) sizeUpdate(b []byte) ([]byte, error) {
	n, rest, err := readInt(b, 5)
	if err != nil {
		return nil, err
	}
	if n > d.limit {
		return nil, errUpdateSize
	}
	d.tab.setMax(n)
	d.mustUpdate = false
	return rest, nil
}

func (d *Decoder) indexed(b []byte, out *header.List) ([]byte, error) {
	i, rest, err := readInt(b, 7)
	switch {
	case err != nil:
		return nil, err
	case i == 0 || i > staticLen+d.tab.count():
		return nil, errIndex
	case i <= staticLen:
		e := &staticTable[i]
		d.emit(out, e.id, e.nameBytes, e.valueBytes, 0, false)
	default:
		e := d.tab.at(i - staticLen)
		d.emit(out, e.id, d.tab.name(e), d.tab.value(e), e.bad, false)
	}
	return rest, nil
}

// literal decodes a field whose value is given (RFC 7541 §6.2); prefix is 6
// when it is to be added to the table, else 4.
func (d *Decoder) literal(b []byte, prefix uint, out *header.List) ([]byte, error) {
	add := prefix == 6
	never := !add && b[0]&0x10 != 0
	i, b, err := readInt(b, prefix)
	if err != nil {
		return nil, err
	}
	d.scratch = d.scratch[:0]
	var id header.ID
	var name, value []byte
	var bad Bad
	switch {
	case i == 0:
		if name, b, err = d.readString(b); err != nil {
			return nil, err
		}
		id = header.Lookup(name)
		bad = checkName(id, name)
	case i <= staticLen:
		e := &staticTable[i]
		id, name = e.id, e.nameBytes
	case i <= staticLen+d.tab.count():
		e := d.tab.at(i - staticLen)
		id, name, bad = e.id, d.tab.name(e), e.bad&BadName
		if add { // inserting may move or evict the entry the name is from
			d.scratch = append(d.scratch, name...)
			name = d.scratch
		}
	default:
		return nil, errIndex
	}
	if value, b, err = d.readString(b); err != nil {
		return nil, err
	}
	bad |= CheckValue(value)
	d.emit(out, id, name, value, bad, never)
	if add {
		d.tab.add(id, name, value, bad)
	}
	return b, nil
}

// readString reads a string literal (RFC 7541 §5.2). The text lies in b or in
// scratch, after what is there already.
func (d *Decoder) readString(b []byte) (s, rest []byte, err error) {
	if len(b) == 0 {
		return nil, nil, errTruncated
	}
	coded := b[0]&0x80 != 0
	n, b, err := readInt(b, 7)
	if err != nil {
		return nil, nil, err
	}
	if uint64(n) > uint64(len(b)) {
		return nil, nil, errTruncated
	}
	s, rest = b[:n], b[n:]
	if !coded {
		return s, rest, nil
	}
	at := len(d.scratch)
	if d.scratch, err = appendDecoded(d.scratch, s); err != nil {
		return nil, nil, err
	}
	return d.scratch[at:], rest, nil
}

func (d *Decoder) emit(out *header.List, id header.ID, name, value []byte, bad Bad, never bool) {
	blk := &d.block
	blk.Bytes += len(name) + len(value) + entryOverhead
	blk.Fields++
	blk.Bad |= bad
	if blk.Over || blk.Bytes > d.lim.Bytes || blk.Fields > d.lim.Fields {
		blk.Over = true
		return
	}
	out.AddField(id, name, value, never)
}
