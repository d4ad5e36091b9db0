package analyze

// proxyUID is the user that a sidecar runs as; its own traffic is not captured.
const proxyUID = 1337

// applicationUIDs reports pods whose program runs as the sidecar's user.
func applicationUIDs(w *world, f *findings) {
	for _, p := range w.pods.all {
		if p.spec == nil || p.isGateway() {
			continue
		}
		t := text{
			p.name() + " runs as user 1337, which is the sidecar's", "what the program sends is not captured: it leaves without mTLS, routing and policies",
			"run it as another user",
		}
		podUser := p.spec.SecurityContext != nil && p.spec.SecurityContext.RunAsUser != nil && *p.spec.SecurityContext.RunAsUser == proxyUID
		if podUser {
			f.add(p.object, codeApplicationUID, under(p.path, "spec.securityContext.runAsUser"), t)
		}
		for i := range p.spec.Containers {
			c := &p.spec.Containers[i]
			if c.Name != proxyContainer && c.SecurityContext != nil && c.SecurityContext.RunAsUser != nil && *c.SecurityContext.RunAsUser == proxyUID {
				f.add(p.object, codeApplicationUID, at(under(p.path, "spec.containers"), i)+".securityContext.runAsUser", t)
			}
		}
	}
}
