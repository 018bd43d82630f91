// kubectl of the pinned version, as k8s.io/kubernetes/cmd/kubectl builds it, without that module.
package main

import (
	"k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/util"
)

func main() {
	util.CheckErr(cmd.NewDefaultKubectlCommand().Execute())
}
