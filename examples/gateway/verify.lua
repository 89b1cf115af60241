-- Asks Latchkey whether a request may pass. HAProxy's httpclient needs HAProxy 2.5 or later.

local identity = {
  "x-auth-subject", "x-auth-session", "x-auth-roles", "x-auth-scope", "x-auth-client", "x-auth-email"
}

local function first(headers, name)
  local values = headers and headers[name]
  return values and values[0] or ""
end

core.register_action("verify", { "http-req" }, function(txn)
  local headers = txn.http:req_get_headers()
  -- Latchkey gets only the token, the request id and the address of the client.
  local sent = { ["x-forwarded-for"] = { txn.f:src() } }
  for _, name in ipairs({ "authorization", "x-request-id" }) do
    local value = first(headers, name)
    if value ~= "" then sent[name] = { value } end
  end

  local url = "http://127.0.0.1:8081/v1/auth/verify" .. (txn:get_var("txn.requirement") or "")
  local response = core.httpclient():get { url = url, headers = sent, timeout = 3000 }

  -- Anything but 204, 401 and 403 counts as unavailable, and so does a missing answer.
  local status = response and response.status or 0
  txn:set_var("txn.verified", status)
  txn:set_var("txn.challenge", first(response and response.headers, "www-authenticate"))
  if status ~= 204 then return end
  for _, name in ipairs(identity) do
    local value = first(response.headers, name)
    -- The configuration has removed what the client sent.
    if value ~= "" then txn.http:req_set_header(name, value) end
  end
end, 0)
