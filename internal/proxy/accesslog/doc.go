// Package accesslog writes access logs to files and to standard output.
//
//		files := accesslog.NewFiles(accesslog.Options{Logger: log})
//		rec := files.Recorder()   // one per worker: a flow.Recorder
//		...
//		files.Close()             // writes what waits
//
//	 1. A finished record finds its logs by the chain of its connection: those of
//	    the HTTP manager or TCP proxy; without a chain, those of the listener.
//	 2. The filter decides, the line is put at the end of a buffer that belongs to
//	    this worker and file. If the file is so slow that the buffer is full, the
//	    line is dropped and counted: a request never waits for a disk.
//	 3. The file's goroutine takes the buffers of all workers and writes them:
//	    after FlushInterval, sooner when one is half full, and nearly at once for
//	    standard output, which people watch.
package accesslog
