/**
 * What the runner loads from elsewhere: file -> npm package, release, place there and sha256; `part`: what it is for, where not every bundle needs it.
 * edgekit/web/vendor.py reads this file too.
 */
export const VENDOR = {
  "ort.wasm.bundle.min.mjs": {
    "package": "onnxruntime-web", "release": "1.30.0", "path": "dist/ort.wasm.bundle.min.mjs",
    "sha256": "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90"
  },
  "ort-wasm-simd-threaded.wasm": {
    "package": "onnxruntime-web", "release": "1.30.0", "path": "dist/ort-wasm-simd-threaded.wasm",
    "sha256": "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2"
  },
  "tokenizers.min.mjs": {
    "package": "@huggingface/tokenizers", "release": "0.2.0", "path": "dist/tokenizers.min.mjs",
    "sha256": "258e46332101335ce8d95aed7745b19ac3b46d37f3e159a89cf894c2ea9b1d3a"
  },
  "ort.webgpu.bundle.min.mjs": {
    "package": "onnxruntime-web", "release": "1.30.0", "path": "dist/ort.webgpu.bundle.min.mjs", "part": "webgpu",
    "sha256": "0730816731ce2cdfb06f273da065d4a1c7091eb9d1756a83b2916c8a89d015e2"
  },
  "ort-wasm-simd-threaded.asyncify.wasm": {
    "package": "onnxruntime-web", "release": "1.30.0", "path": "dist/ort-wasm-simd-threaded.asyncify.wasm", "part": "webgpu",
    "sha256": "39f9f0894d478800487ed9f7dbe92618498db320cf55c8e3d89adff8dce658da"
  },
  "jinja.mjs": {
    "package": "@huggingface/jinja", "release": "0.5.11", "path": "dist/index.js", "part": "chat",
    "sha256": "c8871915dfa68f976c11540c33fc9341c0810ebe29adb7027b8d51f2a8044936"
  }
};
