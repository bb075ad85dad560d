"""openai_client.py URL: the official client against a server of a tiny model: answers, streams, log-probabilities, usage, stop, cancel, errors,
embeddings; the metrics through prometheus_client's own parser when it is there (else the last line says so)."""
import sys, time, urllib.request

import openai

url = sys.argv[1]
c = openai.OpenAI(base_url=url + "/v1", api_key="any", max_retries=0)
model = c.models.list().data[0].id
assert c.models.retrieve(model).id == model
chat = [{"role": "system", "content": "be short"}, {"role": "user", "content": [{"type": "text", "text": "the cat"}]}]

r = c.chat.completions.create(model=model, messages=chat, max_completion_tokens=12, temperature=0, logprobs=True, top_logprobs=4)
text = r.choices[0].message.content
assert r.choices[0].message.role == "assistant" and r.choices[0].finish_reason in ("stop", "length")
content = r.choices[0].logprobs.content
assert len(content) == r.usage.completion_tokens and r.usage.total_tokens == r.usage.prompt_tokens + r.usage.completion_tokens
assert b"".join(bytes(t.bytes) for t in content).decode("utf-8", "replace") == text
assert all(t.top_logprobs[0].logprob == t.logprob and len(t.top_logprobs) == 4 for t in content)  # greedy

parts, usage, lp = [], None, []
for e in c.chat.completions.create(model=model, messages=chat, max_tokens=12, temperature=0, stream=True, logprobs=True, stream_options={"include_usage": True}):
    usage = e.usage or usage
    for x in e.choices:
        parts.append(x.delta.content or "")
        lp += x.logprobs.content if x.logprobs else []
assert "".join(parts) == text, (parts, text)
assert [t.token for t in lp] == [t.token for t in content]
assert usage.completion_tokens == r.usage.completion_tokens

sampled = [c.completions.create(model=model, prompt="the cat", max_tokens=20, seed=s, temperature=1).choices[0].text for s in (1, 1, 2)]
assert sampled[0] == sampled[1] != sampled[2]
whole = c.completions.create(model=model, prompt="the cat", max_tokens=20, temperature=0).choices[0].text
mark = whole[len(whole) // 2:][:2]
cut = c.completions.create(model=model, prompt="the cat", max_tokens=20, temperature=0, stop=[mark])
assert cut.choices[0].text == whole[:whole.index(mark)] and cut.choices[0].finish_reason == "stop"
many = c.completions.create(model=model, prompt=["the cat", "the gate"], n=2, max_tokens=4)
assert [x.index for x in many.choices] == [0, 1, 2, 3]
assert many.usage.prompt_tokens == sum(c.completions.create(model=model, prompt=p, max_tokens=1).usage.prompt_tokens for p in ("the cat", "the gate"))
held = c.completions.create(model=model, prompt="the cat", max_tokens=20, temperature=0, logprobs=1, stop=[mark])
told = [e.choices[0].logprobs for e in c.completions.create(model=model, prompt="the cat", max_tokens=20, temperature=0, logprobs=1, stop=[mark], stream=True)]
assert sum((x.tokens for x in told if x), []) == held.choices[0].logprobs.tokens  # those of the stop string too

both = c.chat.completions.create(model=model, messages=chat, max_tokens=8, seed=1, extra_body={"sonde": {"compare": True, "steer": [
    {"vector": [0.0] * 63 + [1.0], "site": "resid_post.0", "value": 0, "unit": "raw"}]}})
c.completions.create(model=model, prompt="the cat", max_tokens=2, extra_body={"sonde": {"steer": [
    {"vector": [0.0] * 63 + [1.0], "site": "resid_post.0", "value": 1, "unit": "raw", "when": {"monitor": "axis"}}]}})
assert both.choices[0].message.content == both.choices[1].message.content
assert both.choices[1].sonde["lane"] == "steered" and len(both.choices[1].sonde["applied"]) == 1

plain, packed = (c.embeddings.create(model=model, input=["the cat", "the gate"], **f) for f in ({"encoding_format": "float"}, {}))
assert all(abs(x - y) < 1e-7 for a, b in zip(plain.data, packed.data) for x, y in zip(a.embedding, b.embedding))  # text of an f32 and its bytes

tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
for error, code, ask in ((openai.BadRequestError, None, lambda: c.chat.completions.create(model=model, messages=[])),
                         (openai.NotFoundError, "model_not_found", lambda: c.chat.completions.create(model="nothing", messages=chat)),
                         (openai.BadRequestError, "context_length_exceeded", lambda: c.completions.create(model=model, prompt=[5] * 9999)),
                         (openai.BadRequestError, None, lambda: c.chat.completions.create(model=model, messages=chat, tools=[tool], tool_choice="required")),
                         (openai.BadRequestError, None, lambda: c.completions.create(model=model, prompt="a", suffix="b")),
                         (openai.BadRequestError, None, lambda: c.chat.completions.create(model=model, messages=chat, extra_body={"sonde": {"what": 1}}))):
    try:
        ask()
    except error as e:
        assert e.body["message"] and e.body["type"] and e.code == code, e.body
    else:
        raise AssertionError(error)

stream = c.completions.create(model=model, prompt="the cat", max_tokens=240, stream=True, n=4)
next(iter(stream))
stream.close()
time.sleep(1)
metrics = urllib.request.urlopen(url + "/metrics").read().decode()
assert "\nsonde_sequences_running 0\n" in metrics
try:
    from prometheus_client.parser import text_string_to_metric_families
except ImportError:
    print("skip: interop_prometheus: prometheus_client is not there")
    print("[  SKIPPED ] interop_prometheus")
else:
    families = {f.name: f for f in text_string_to_metric_families(metrics)}
    h = families["sonde_time_to_first_token_seconds"]
    assert h.type == "histogram"
    buckets = [s.value for s in h.samples if s.name.endswith("_bucket")]
    count = next(s.value for s in h.samples if s.name.endswith("_count"))
    assert buckets == sorted(buckets) and buckets[-1] == count > 0
    looked, held = (families[f"sonde_monitor_{k}"] for k in ("evaluations", "trips"))
    assert looked.type == held.type == "counter" and looked.samples[0].labels == {"monitor": "axis"}
    assert looked.samples[0].value >= held.samples[0].value and looked.samples[0].value > 0
    assert families["sonde_http_requests"].type == "counter" and all(":" not in f for f in families)
    print("[       OK ] interop_prometheus")
