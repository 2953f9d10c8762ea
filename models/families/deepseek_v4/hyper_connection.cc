// SPDX-License-Identifier: Apache-2.0
#include "models/families/deepseek_v4/hyper_connection.h"

#include "absl/strings/str_cat.h"
#include "models/status_macros.h"

namespace hadal::models {

using kernels::DType;
using kernels::TensorView;

absl::StatusOr<HyperConnection> HyperConnection::Load(const LoadContext& context, const std::string& name, Use use) {
  const config::HyperConnectionConfig& config = *context.config.hyper_connections;
  // Values for the way in, the way out and the matrix between the streams; the last collapse has the way in alone.
  const int64_t rows = use == Use::kSublayer ? (2 + config.streams) * config.streams : config.streams;
  HyperConnection connection;
  HADAL_ASSIGN_OR_RETURN(connection.fn_, context.loader.Take({absl::StrCat(name, "_fn"),
                                                              {rows, config.streams * context.config.hidden_size},
                                                              checkpoint::TensorRole::kFloat32Matrix}));
  HADAL_ASSIGN_OR_RETURN(connection.base_,
                         context.loader.Take({absl::StrCat(name, "_base"), {rows}, checkpoint::TensorRole::kFloat32}));
  HADAL_ASSIGN_OR_RETURN(connection.scale_, context.loader.Take({absl::StrCat(name, "_scale"),
                                                                 {use == Use::kSublayer ? int64_t{3} : int64_t{1}},
                                                                 checkpoint::TensorRole::kFloat32}));
  connection.sinkhorn_iterations_ = config.sinkhorn_iterations;
  connection.eps_ = static_cast<float>(config.eps);
  connection.norm_eps_ = static_cast<float>(context.config.rms_norm_eps);
  return connection;
}

absl::Status HyperConnection::Collapse(const ForwardContext& context, const TensorView& streams, const TensorView& out,
                                       const Mix& mix) const {
  const Arena::Scope scope(context.arena);
  const int64_t tokens = streams.size(0);
  HADAL_ASSIGN_OR_RETURN(const TensorView mixes, context.arena.Take(DType::kF32, {tokens, fn_.weight.out_features()}));
  // The norm of the streams is one factor of a token, so it can follow the product.
  const TensorView flat(streams.data, streams.dtype, {tokens, streams.size(1) * streams.size(2)});
  HADAL_RETURN_IF_ERROR(context.backend.Gemm({.x = flat, .w = fn_.weight, .out = mixes}));
  return context.backend.HyperCollapse({.streams = streams,
                                        .mixes = mixes,
                                        .base = base_.view(),
                                        .scale = scale_.view(),
                                        .out = out,
                                        .post = mix.post,
                                        .comb = mix.comb,
                                        .norm_eps = norm_eps_,
                                        .eps = eps_,
                                        .sinkhorn_iterations = sinkhorn_iterations_});
}

}  // namespace hadal::models
