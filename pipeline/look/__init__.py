"""Looking at a store and handing it on: previews, the report page, exports. Only ever reads."""
