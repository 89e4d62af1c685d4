package jwt

// Status is what is wrong with a token, in the words that Envoy answers with. The zero value is that nothing is.
type Status string

// What may be wrong.
const (
	OK             Status = ""
	Missing        Status = "Jwt is missing"
	NotYetValid    Status = "Jwt not yet valid"
	Expired        Status = "Jwt is expired"
	BadForm        Status = "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections"
	BadHeader      Status = "Jwt header is an invalid Base64url encoded"
	BadHeaderJSON  Status = "Jwt header is an invalid JSON"
	NoAlgorithm    Status = "Jwt header [alg] field is required and must be a string"
	BadAlgorithm   Status = "Jwt header [alg] is not supported"
	BadKeyID       Status = "Jwt header [kid] field is not a string"
	BadPayload     Status = "Jwt payload is an invalid Base64url encoded"
	BadPayloadJSON Status = "Jwt payload is an invalid JSON"
	BadIssuer      Status = "Jwt payload [iss] field is not a string"
	BadSubject     Status = "Jwt payload [sub] field is not a string"
	BadIssuedAt    Status = "Jwt payload [iat] field is not an integer"
	BadNotBefore   Status = "Jwt payload [nbf] field is not an integer"
	BadExpiry      Status = "Jwt payload [exp] field is not an integer"
	BadID          Status = "Jwt payload [jti] field is not a string"
	BadAudience    Status = "Jwt payload [aud] field is not a string or string list"
	BadSignature   Status = "Jwt signature is an invalid Base64url encoded"
	UnknownIssuer  Status = "Jwt issuer is not configured"
	WrongAudience  Status = "Audiences in Jwt are not allowed"
	NotVerified    Status = "Jwt verification fails"
	NoSuchKey      Status = "Jwks doesn't have key to match kid or alg from Jwt"
	NoFetch        Status = "Jwks remote fetch is failed"
)
