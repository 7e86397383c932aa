# The image matrix. By itself: docker buildx bake --file docker/docker-bake.hcl train
# `inv` builds the same targets from it, one after the other, when a stage first needs them.

# The day of the base image's Debian snapshot (2026-09-18, UTC): the date of every file.
variable "SOURCE_DATE_EPOCH" { default = "1789689600" }
# off: Debian packages of today, for hosts that do not reach the snapshot archive.
variable "DRYDOCK_SNAPSHOT" { default = "on" }
# Certificates to trust while building, for networks that inspect HTTPS; never part of an image.
variable "DRYDOCK_CA" { default = "" }
# A pip.conf whose index-url is used while building; never part of an image.
variable "DRYDOCK_PIP_CONF" { default = "" }
# The folder that holds what no registry has: Rockchip's wheel for rk3399pro.
variable "DRYDOCK_VENDOR" { default = "docker/rk3399pro" }
# Where layers are kept between builds of a CI, e.g. type=local,src=/cache/TARGET and
# type=local,dest=/cache/TARGET,mode=max. TARGET becomes the name of what is built: in one place for
# all, the last one's would be kept alone. Needs a builder that can export them (docker buildx create
# --driver docker-container) or an engine with containerd's image store.
variable "DRYDOCK_CACHE_FROM" { default = "" }
variable "DRYDOCK_CACHE_TO" { default = "" }
variable "TAG" { default = "dev" }

function "kept" {
  params = [place, target]
  result = place == "" ? [] : [replace(place, "TARGET", target)]
}

# All that a computer can need; train-cuda is of use to hosts with an NVIDIA GPU only.
group "default" { targets = ["train", "openvino", "litert", "nvidia", "movidius", "rknn", "render", "annotate"] }
# Not without Rockchip's wheel.
group "vendor" { targets = ["rk3399pro"] }
group "gpu" { targets = ["train-cuda"] }
group "devices" {
  targets = [
    "device-openvino-cpu",
    "device-openvino-gpu",
    "device-movidius",
    "device-nvidia",
    "device-arm64",
    "device-rockchip",
  ]
}

target "_common" {
  args = {
    SOURCE_DATE_EPOCH = SOURCE_DATE_EPOCH
    DRYDOCK_SNAPSHOT  = DRYDOCK_SNAPSHOT
  }
  secret = concat(
    DRYDOCK_CA == "" ? [] : ["id=ca,src=${DRYDOCK_CA}"],
    DRYDOCK_PIP_CONF == "" ? [] : ["id=pip,src=${DRYDOCK_PIP_CONF}"],
  )
  attest = ["type=provenance,disabled=true"] # it holds the time of the build
}

target "base" {
  inherits   = ["_common"]
  context    = "docker/base"
  target     = "base"
  tags       = ["drydock/base:${TAG}"]
  cache-from = kept(DRYDOCK_CACHE_FROM, "base")
  cache-to   = kept(DRYDOCK_CACHE_TO, "base")
}

target "builder" {
  inherits   = ["_common"]
  context    = "docker/base"
  target     = "builder"
  tags       = ["drydock/builder:${TAG}"]
  cache-from = kept(DRYDOCK_CACHE_FROM, "builder")
  cache-to   = kept(DRYDOCK_CACHE_TO, "builder")
}

# Debian 11, for toolchains that stop at Python 3.9.
target "bullseye" {
  inherits   = ["_common"]
  context    = "docker/bullseye"
  contexts   = { builder = "target:builder" }
  target     = "bullseye"
  tags       = ["drydock/bullseye:${TAG}"]
  cache-from = kept(DRYDOCK_CACHE_FROM, "bullseye")
  cache-to   = kept(DRYDOCK_CACHE_TO, "bullseye")
}

target "bullseye-builder" {
  inherits   = ["_common"]
  context    = "docker/bullseye"
  contexts   = { builder = "target:builder" }
  target     = "bullseye-builder"
  tags       = ["drydock/bullseye-builder:${TAG}"]
  cache-from = kept(DRYDOCK_CACHE_FROM, "bullseye-builder")
  cache-to   = kept(DRYDOCK_CACHE_TO, "bullseye-builder")
}

target "train" {
  inherits   = ["_common"]
  context    = "docker/train"
  contexts   = { base = "target:base", builder = "target:builder" }
  tags       = ["drydock/train:${TAG}"]
  cache-from = kept(DRYDOCK_CACHE_FROM, "train")
  cache-to   = kept(DRYDOCK_CACHE_TO, "train")
}

# The same Dockerfile on another lock.
target "train-cuda" {
  inherits   = ["_common"]
  context    = "docker/train-cuda"
  dockerfile = "../train/Dockerfile"
  contexts   = { base = "target:base", builder = "target:builder" }
  tags       = ["drydock/train-cuda:${TAG}"]
  cache-from = kept(DRYDOCK_CACHE_FROM, "train-cuda")
  cache-to   = kept(DRYDOCK_CACHE_TO, "train-cuda")
}

target "openvino" {
  inherits   = ["_common"]
  context    = "docker/openvino"
  contexts   = { base = "target:base", builder = "target:builder" }
  tags       = ["drydock/openvino:${TAG}"]
  cache-from = kept(DRYDOCK_CACHE_FROM, "openvino")
  cache-to   = kept(DRYDOCK_CACHE_TO, "openvino")
}

target "litert" {
  inherits   = ["_common"]
  context    = "docker/litert"
  contexts   = { base = "target:base", builder = "target:builder" }
  tags       = ["drydock/litert:${TAG}"]
  cache-from = kept(DRYDOCK_CACHE_FROM, "litert")
  cache-to   = kept(DRYDOCK_CACHE_TO, "litert")
}

target "nvidia" {
  inherits   = ["_common"]
  context    = "docker/nvidia"
  contexts   = { base = "target:base", builder = "target:builder" }
  tags       = ["drydock/nvidia:${TAG}"]
  cache-from = kept(DRYDOCK_CACHE_FROM, "nvidia")
  cache-to   = kept(DRYDOCK_CACHE_TO, "nvidia")
}

target "movidius" {
  inherits   = ["_common"]
  context    = "docker/movidius"
  contexts   = { base = "target:bullseye", builder = "target:bullseye-builder" }
  tags       = ["drydock/movidius:${TAG}"]
  cache-from = kept(DRYDOCK_CACHE_FROM, "movidius")
  cache-to   = kept(DRYDOCK_CACHE_TO, "movidius")
}

target "rknn" {
  inherits   = ["_common"]
  context    = "docker/rknn"
  contexts   = { base = "target:base", builder = "target:builder" }
  tags       = ["drydock/rknn:${TAG}"]
  cache-from = kept(DRYDOCK_CACHE_FROM, "rknn")
  cache-to   = kept(DRYDOCK_CACHE_TO, "rknn")
}

target "rk3399pro" {
  inherits   = ["_common"]
  context    = "docker/rk3399pro"
  contexts   = { base = "target:base", builder = "target:builder", vendor = DRYDOCK_VENDOR }
  tags       = ["drydock/rk3399pro:${TAG}"]
  cache-from = kept(DRYDOCK_CACHE_FROM, "rk3399pro")
  cache-to   = kept(DRYDOCK_CACHE_TO, "rk3399pro")
}

target "annotate" {
  inherits   = ["_common"]
  context    = "docker/annotate"
  contexts   = { base = "target:bullseye", builder = "target:bullseye-builder" }
  tags       = ["drydock/annotate:${TAG}"]
  cache-from = kept(DRYDOCK_CACHE_FROM, "annotate")
  cache-to   = kept(DRYDOCK_CACHE_TO, "annotate")
}

target "render" {
  inherits   = ["_common"]
  context    = "docker/render"
  contexts   = { base = "target:base", builder = "target:builder" }
  tags       = ["drydock/render:${TAG}"]
  cache-from = kept(DRYDOCK_CACHE_FROM, "render")
  cache-to   = kept(DRYDOCK_CACHE_TO, "render")
}

# --- What is carried to devices. The detector comes on top: device/Dockerfile, `inv package`. ---

target "device-base-amd64" {
  inherits   = ["_common"]
  context    = "docker/device/base"
  contexts   = { builder = "target:builder" }
  platforms  = ["linux/amd64"]
  tags       = ["drydock/device-base-amd64:${TAG}"]
  cache-from = kept(DRYDOCK_CACHE_FROM, "device-base-amd64")
  cache-to   = kept(DRYDOCK_CACHE_TO, "device-base-amd64")
}

target "device-base-arm64" {
  inherits   = ["_common"]
  context    = "docker/device/base"
  contexts   = { builder = "target:builder" }
  platforms  = ["linux/arm64"]
  tags       = ["drydock/device-base-arm64:${TAG}"]
  cache-from = kept(DRYDOCK_CACHE_FROM, "device-base-arm64")
  cache-to   = kept(DRYDOCK_CACHE_TO, "device-base-arm64")
}

# Debian 11's, for toolchains that stop at Python 3.9.
target "device-base-bullseye" {
  inherits   = ["_common"]
  context    = "docker/device/base"
  contexts   = { builder = "target:bullseye-builder" }
  platforms  = ["linux/amd64"]
  tags       = ["drydock/device-base-bullseye:${TAG}"]
  cache-from = kept(DRYDOCK_CACHE_FROM, "device-base-bullseye")
  cache-to   = kept(DRYDOCK_CACHE_TO, "device-base-bullseye")
}

target "device-openvino-cpu" {
  inherits = ["_common"]
  context  = "docker/device/openvino-cpu"
  contexts = {
    base    = "target:device-base-amd64"
    builder = "target:builder"
    tools   = "docker/device/base"
  }
  platforms  = ["linux/amd64"]
  tags       = ["drydock/device/openvino-cpu:${TAG}"]
  cache-from = kept(DRYDOCK_CACHE_FROM, "device-openvino-cpu")
  cache-to   = kept(DRYDOCK_CACHE_TO, "device-openvino-cpu")
}

target "device-openvino-gpu" {
  inherits = ["_common"]
  context  = "docker/device/openvino-gpu"
  contexts = {
    base    = "target:device-base-amd64"
    builder = "target:builder"
    tools   = "docker/device/base"
  }
  platforms  = ["linux/amd64"]
  tags       = ["drydock/device/openvino-gpu:${TAG}"]
  cache-from = kept(DRYDOCK_CACHE_FROM, "device-openvino-gpu")
  cache-to   = kept(DRYDOCK_CACHE_TO, "device-openvino-gpu")
}

target "device-movidius" {
  inherits = ["_common"]
  context  = "docker/device/movidius"
  contexts = {
    base    = "target:device-base-bullseye"
    builder = "target:bullseye-builder"
    tools   = "docker/device/base"
  }
  platforms  = ["linux/amd64"]
  tags       = ["drydock/device/movidius:${TAG}"]
  cache-from = kept(DRYDOCK_CACHE_FROM, "device-movidius")
  cache-to   = kept(DRYDOCK_CACHE_TO, "device-movidius")
}

target "device-nvidia" {
  inherits = ["_common"]
  context  = "docker/device/nvidia"
  contexts = {
    base    = "target:device-base-amd64"
    builder = "target:builder"
    tools   = "docker/device/base"
  }
  platforms  = ["linux/amd64"]
  tags       = ["drydock/device/nvidia:${TAG}"]
  cache-from = kept(DRYDOCK_CACHE_FROM, "device-nvidia")
  cache-to   = kept(DRYDOCK_CACHE_TO, "device-nvidia")
}

target "device-arm64" {
  inherits = ["_common"]
  context  = "docker/device/arm64"
  contexts = {
    base    = "target:device-base-arm64"
    builder = "target:builder"
    tools   = "docker/device/base"
  }
  platforms  = ["linux/arm64"]
  tags       = ["drydock/device/arm64:${TAG}"]
  cache-from = kept(DRYDOCK_CACHE_FROM, "device-arm64")
  cache-to   = kept(DRYDOCK_CACHE_TO, "device-arm64")
}

target "device-rockchip" {
  inherits = ["_common"]
  context  = "docker/device/rockchip"
  contexts = {
    base    = "target:device-base-arm64"
    builder = "target:builder"
    tools   = "docker/device/base"
  }
  platforms  = ["linux/arm64"]
  tags       = ["drydock/device/rockchip:${TAG}"]
  cache-from = kept(DRYDOCK_CACHE_FROM, "device-rockchip")
  cache-to   = kept(DRYDOCK_CACHE_TO, "device-rockchip")
}
