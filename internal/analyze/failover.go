package analyze

import networking "istio.io/api/networking/v1alpha3"

// blindFailover reports failover between localities without outlier detection: a
// proxy then never learns that endpoints are down.
func blindFailover(w *world, f *findings) {
	for _, r := range w.rules() {
		top := r.spec.GetTrafficPolicy().GetOutlierDetection() != nil
		r.policies(func(path string, p *networking.TrafficPolicy) {
			f.failover(r, path, p.GetLoadBalancer(), top || p.OutlierDetection != nil)
			for i, s := range p.PortLevelSettings {
				f.failover(r, at(path+".portLevelSettings", i), s.GetLoadBalancer(), s.OutlierDetection != nil)
			}
		})
	}
}

func (f *findings) failover(r rule, path string, lb *networking.LoadBalancerSettings, outlier bool) {
	l := lb.GetLocalityLbSetting()
	if outlier || len(l.GetFailover()) == 0 && len(l.GetFailoverPriority()) == 0 {
		return
	}
	f.add(r.object, codeFailoverBlind, path+".loadBalancer.localityLbSetting", text{
		"failover for " + r.host + " without outlierDetection", "localities are not preferred at all, and nothing fails over",
		"add outlierDetection to the same traffic policy",
	})
}
