# SPDX-License-Identifier: Apache-2.0
# docker build -t hadal .                                   CPU image; the build runs the tests
# docker build -t hadal:cuda --build-arg VARIANT=cuda .     CUDA image
# docker run -p 8000:8000 -v /keys:/keys:ro hadal serve --host 0.0.0.0 --api-key-file /keys/keys
#
# A release pins the two base images by digest: --build-arg DEBIAN=debian@sha256:...
ARG DEBIAN=debian:12.11-slim
ARG CUDA=nvidia/cuda:13.0.2-devel-ubuntu22.04
ARG VARIANT=cpu

# ---- Sources and build packages --------------------------------------------------------------------------------------
FROM ${DEBIAN} AS sources
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
WORKDIR /src
COPY scripts/ scripts/
RUN scripts/bootstrap
COPY . .

# ---- CPU build, with every test that needs no GPU --------------------------------------------------------------------
FROM sources AS build-cpu
RUN scripts/bootstrap --test && scripts/test --fast && rm -rf .deps/venv
RUN scripts/lib/install_tree.sh build/release /out

# ---- CUDA build: compiles without a GPU ------------------------------------------------------------------------------
FROM ${CUDA} AS toolkit
FROM sources AS build-cuda
COPY --from=toolkit /usr/local/cuda/ /usr/local/cuda/
ENV PATH=/usr/local/cuda/bin:${PATH}
RUN scripts/bootstrap --cuda \
 && cmake --preset cuda -DHADAL_TESTS=OFF -DHADAL_BENCHMARKS=OFF \
 && ninja -C build/cuda hadal
RUN scripts/lib/install_tree.sh build/cuda /out

# hadolint ignore=DL3006
FROM build-${VARIANT} AS build

# ---- Runtime: the binary, the libraries it needs, the demo model; no shell tools beyond Debian's slim image ----------
FROM ${DEBIAN} AS runtime
LABEL org.opencontainers.image.title="hadal" \
      org.opencontainers.image.description="Self-hosted inference server for DeepSeek models" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /out/runtime-packages /tmp/runtime-packages
# Versions are those of the base image's Debian release; the list comes from the binary itself.
# hadolint ignore=DL3008
RUN apt-get update \
 && xargs -a /tmp/runtime-packages apt-get install -y --no-install-recommends \
 && rm -rf /var/lib/apt/lists/* /tmp/runtime-packages
COPY --from=build /out/hadal/ /opt/hadal/
ENV PATH=/opt/hadal/bin:${PATH} HADAL_DEMO_MODEL=/opt/hadal/models/demo
USER 65532:65532
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30m --retries=3 CMD ["hadal", "health"]
ENTRYPOINT ["hadal"]
CMD ["serve"]
