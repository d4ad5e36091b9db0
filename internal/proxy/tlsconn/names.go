package tlsconn

// CipherName is OpenSSL's name of a TLS 1.2 suite, as Common.CipherSuites takes it.
func CipherName(id uint16) string { return cipherName(id) }
