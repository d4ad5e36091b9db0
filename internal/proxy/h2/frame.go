package h2

import "encoding/binary"

// frameHeaderLen is the size of a frame header (RFC 9113 §4.1).
const frameHeaderLen = 9

// Preface is what a client sends first (RFC 9113 §3.4).
const Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

type frameType uint8

// Frame types (RFC 9113 §6, RFC 9218 §7.1).
const (
	frameData           frameType = 0x0
	frameHeaders        frameType = 0x1
	framePriority       frameType = 0x2
	frameRSTStream      frameType = 0x3
	frameSettings       frameType = 0x4
	framePushPromise    frameType = 0x5
	framePing           frameType = 0x6
	frameGoAway         frameType = 0x7
	frameWindowUpdate   frameType = 0x8
	frameContinuation   frameType = 0x9
	framePriorityUpdate frameType = 0x10
)

// Flags.
const (
	flagEndStream  = 0x1
	flagAck        = 0x1
	flagEndHeaders = 0x4
	flagPadded     = 0x8
	flagPriority   = 0x20
)

// ErrCode is an HTTP/2 error code (RFC 9113 §7).
type ErrCode uint32

// Error codes.
const (
	NoError            ErrCode = 0x0
	ProtocolError      ErrCode = 0x1
	InternalError      ErrCode = 0x2
	FlowControlError   ErrCode = 0x3
	SettingsTimeout    ErrCode = 0x4
	StreamClosed       ErrCode = 0x5
	FrameSizeError     ErrCode = 0x6
	RefusedStream      ErrCode = 0x7
	Cancel             ErrCode = 0x8
	CompressionError   ErrCode = 0x9
	ConnectError       ErrCode = 0xa
	EnhanceYourCalm    ErrCode = 0xb
	InadequateSecurity ErrCode = 0xc
	HTTP11Required     ErrCode = 0xd
)

type settingID uint16

// Settings (RFC 9113 §6.5.2, RFC 8441 §3).
const (
	settingHeaderTableSize       settingID = 0x1
	settingEnablePush            settingID = 0x2
	settingMaxConcurrentStreams  settingID = 0x3
	settingInitialWindowSize     settingID = 0x4
	settingMaxFrameSize          settingID = 0x5
	settingMaxHeaderListSize     settingID = 0x6
	settingEnableConnectProtocol settingID = 0x8
)

const (
	defaultWindow    = 65535
	maxWindow        = 1<<31 - 1
	defaultFrameSize = 16384
	maxFrameSize     = 1<<24 - 1
	maxStreamID      = 1<<31 - 1
)

type frameHeader struct {
	length uint32
	typ    frameType
	flags  uint8
	stream uint32
}

func (f frameHeader) has(flag uint8) bool { return f.flags&flag != 0 }

func parseFrameHeader(b []byte) frameHeader {
	_ = b[frameHeaderLen-1]
	return frameHeader{
		length: uint32(b[0])<<16 | uint32(b[1])<<8 | uint32(b[2]),
		typ:    frameType(b[3]),
		flags:  b[4],
		stream: binary.BigEndian.Uint32(b[5:]) & maxStreamID,
	}
}

func appendFrameHeader(dst []byte, length int, typ frameType, flags uint8, stream uint32) []byte {
	return append(dst, byte(length>>16), byte(length>>8), byte(length), byte(typ), flags,
		byte(stream>>24), byte(stream>>16), byte(stream>>8), byte(stream))
}

func appendSetting(dst []byte, id settingID, v uint32) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(id))
	return binary.BigEndian.AppendUint32(dst, v)
}
