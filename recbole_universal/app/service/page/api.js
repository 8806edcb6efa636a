// Requests to the service, and its errors in words.

const TOKEN = "recbole-universal token";

/** Kept for this tab alone. */
export const token = {
  get: () => sessionStorage.getItem(TOKEN) || "",
  set: (value) => (value ? sessionStorage.setItem(TOKEN, value) : sessionStorage.removeItem(TOKEN)),
};

/** What went wrong, in words for people. `status` is 0 where no answer came. */
export class ServiceError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

/** JSON as text. Integers beyond 2**53, such as 64-bit ids, keep every digit. */
export function toJson(value) {
  return JSON.stringify(value, (_, one) => (typeof one === "bigint" ? JSON.rawJSON(String(one)) : one));
}

/** The value of a JSON text. Integers beyond 2**53 become BigInt. */
export function fromJson(text) {
  return JSON.parse(text, (_, one, context) => {
    const exact = context?.source && typeof one === "number" && /^-?\d+$/.test(context.source);
    return exact && !Number.isSafeInteger(one) ? BigInt(context.source) : one;
  });
}

/** The answer to a GET request. */
export function get(path, query = {}, signal = undefined) {
  const search = new URLSearchParams(query).toString();
  return answer(search ? `${path}?${search}` : path, { signal });
}

/** The answer to a POST request. */
export function post(path, body, signal = undefined) {
  const headers = { "Content-Type": "application/json" };
  return answer(path, { method: "POST", headers, body: toJson(body), signal });
}

async function answer(path, options) {
  const headers = { Accept: "application/json", ...options.headers };
  if (token.get()) headers.Authorization = `Bearer ${token.get()}`;
  let response, text;
  try {
    response = await fetch(path, { ...options, headers });
    text = await response.text();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServiceError("The service cannot be reached. Check that it runs and that you are online.", 0);
  }
  let content;
  try {
    content = fromJson(text);
  } catch {
    throw new ServiceError(`The service gave an answer that is not JSON (status ${response.status}).`, response.status);
  }
  if (response.ok) return content;
  throw new ServiceError(inWords(content?.detail, response.status), response.status);
}

function inWords(detail, status) {
  if (typeof detail === "string" && detail) return detail;
  if (status >= 500) return `The service failed (status ${status}). Its log says why.`;
  return `The service refused the request (status ${status}).`;
}
