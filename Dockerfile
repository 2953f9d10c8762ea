# SPDX-License-Identifier: Apache-2.0
# docker build -t hadal .                                   CPU image; the build runs the tests
# docker build -t hadal:cuda --build-arg VARIANT=cuda .     CUDA image
# docker run -p 8000:8000 -v /keys:/keys:ro hadal serve --host 0.0.0.0 --api-key-file /keys/keys
#
# scripts/release-image hadal:0.1.0                         image of a release: bases pinned by digest, labels that say where it comes from
#
# The digests are the registry's at the time of a release, and so build arguments; with PINNED=1 a base without one ends the build.
ARG DEBIAN=debian:12.11-slim
ARG CUDA=nvidia/cuda:13.0.2-devel-ubuntu22.04
ARG VARIANT=cpu

# ---- Sources and build packages --------------------------------------------------------------------------------------
FROM ${DEBIAN} AS sources
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
ARG DEBIAN CUDA VARIANT PINNED=0
RUN for base in "$DEBIAN" $([ "$VARIANT" = cpu ] || echo "$CUDA"); do \
      [ "$PINNED" = 0 ] || [[ $base =~ @sha256:[0-9a-f]{64}$ ]] || { echo "PINNED=1, but '$base' has no digest" >&2; exit 1; }; \
    done
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
# For several kinds of GPU: --build-arg CUDA_ARCHITECTURES="80;90a" (kernels/cuda/README.md).
ARG CUDA_ARCHITECTURES=90a
RUN scripts/bootstrap --cuda \
 && cmake --preset cuda -DHADAL_TESTS=OFF -DHADAL_BENCHMARKS=OFF "-DCMAKE_CUDA_ARCHITECTURES=${CUDA_ARCHITECTURES}" \
 && ninja -C build/cuda hadal
RUN scripts/lib/install_tree.sh build/cuda /out

# hadolint ignore=DL3006
FROM build-${VARIANT} AS build

# ---- Runtime: the binary, the libraries it needs, the demo model; no shell tools beyond Debian's slim image ----------
FROM ${DEBIAN} AS runtime
ARG DEBIAN VERSION=0.1.0 REVISION= CREATED= SOURCE=
LABEL org.opencontainers.image.title="hadal" \
      org.opencontainers.image.description="Self-hosted inference server for DeepSeek models" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.base.name="${DEBIAN}"
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
# hadal is process 1 and hears SIGTERM itself: it drains. `docker stop -t` longer than --drain-timeout lets it finish.
STOPSIGNAL SIGTERM
# Progress, not load, as the liveness probe of k8s/base asks it.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30m --retries=3 CMD ["hadal", "health"]
ENTRYPOINT ["hadal"]
CMD ["serve"]
