// Package netio is what the event loop needs from the kernel: system calls that
// never block, socket options, addresses without allocation, and buffers.
//
// Every call here is a raw system call: it does not tell the Go scheduler, which
// saves some 70 ns each but holds the processor while it runs. So only calls
// that cannot block belong here, and every descriptor is non-blocking. Results
// are an errno (0 for success) instead of an error, so that nothing is allocated
// for EAGAIN.
//
// Linux only.
package netio
