/** What the runner loads from elsewhere: file -> npm package, release, place there and sha256. edgekit/web/vendor.py reads this file too. */
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
  }
};
