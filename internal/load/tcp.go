package load

import (
	"bufio"
	"bytes"
	"context"
	"net"
	"time"
)

// tcpClient sends a line and waits for the line that answers it.
type tcpClient struct {
	plan   *plan
	dialer *dialer
	line   []byte
	conn   net.Conn
	br     *bufio.Reader
}

func newTCPClient(p *plan, d *dialer) *tcpClient {
	return &tcpClient{plan: p, dialer: d, line: append(bytes.Clone(p.Body), '\n'), br: bufio.NewReaderSize(nil, maxGrouped)}
}

func (c *tcpClient) do(ctx context.Context) outcome {
	deadline := time.Now().Add(c.plan.Timeout)
	if c.conn == nil {
		conn, err := c.dialer.dial(ctx)
		if err != nil {
			return outcome{err: err}
		}
		c.conn = conn
		c.br.Reset(conn)
	}
	out := c.exchange(ctx, deadline)
	if out.err != nil || c.plan.NoKeepAlive {
		c.close()
	}
	return out
}

func (c *tcpClient) exchange(ctx context.Context, deadline time.Time) outcome {
	if err := c.conn.SetDeadline(deadline); err != nil {
		return outcome{err: err}
	}
	if ctx.Err() != nil { // closeAll may have come before SetDeadline
		return outcome{err: ctx.Err()}
	}
	var out outcome
	if _, err := c.conn.Write(c.line); err != nil {
		return outcome{err: err}
	}
	answer, err := readLine(c.br, &out.in)
	if err != nil {
		out.err = err
		return out
	}
	out.group = c.groupOf(answer)
	return out
}

// groupOf is what an answer is counted by: the wished match, else what the
// server put before our own line.
func (c *tcpClient) groupOf(answer []byte) string {
	if c.plan.GroupByBody != nil {
		return groupOf(c.plan.GroupByBody, answer)
	}
	if own, found := bytes.CutSuffix(answer, c.plan.Body); found {
		return string(bytes.TrimSpace(own))
	}
	return ""
}

func (c *tcpClient) close() {
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}
