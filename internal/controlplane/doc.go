// Package controlplane joins the parts of the control plane: objects from sources,
// the derived mesh, the view of each proxy, and the xDS server. wire.go is the
// picture of it.
//
//	cp, err := controlplane.New(controlplane.Settings{...})
//	go cp.Run(ctx)                       // propagates changes
//	go files.Run(ctx, cp.Sink())         // any number of sources
//	cp.Server().Register(grpcServer)     // made with cp.Server().GRPCOptions()
//	http.Handle("/debug/", cp.Debug())   // behind authentication
package controlplane
