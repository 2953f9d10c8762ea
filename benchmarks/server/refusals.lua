-- SPDX-License-Identifier: Apache-2.0
-- The request of refusals.py, for wrk.
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"model":"hadal-demo","messages":[{"role":"user","content":"What is the capital of France, and why is it not Lyon?"}],"max_tokens":100}'
