// Package identity gives workloads their names and proofs: SPIFFE IDs, the
// certificate authority, the istio.v1.auth CSR service with its authenticators,
// the tokens of the local home, and the client half that keeps a workload's
// certificate fresh.
//
// The rule that everything here keeps: a name in a certificate comes from the
// authenticated caller, never from the certificate signing request.
package identity
